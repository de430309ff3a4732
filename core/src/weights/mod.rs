//! Weight files: where bytes come from, which tensors they hold, and how a tensor reaches a device.
//!
//! [`WeightSource`] is the only door to the outside: a memory map, HTTP ranges or bytes in the
//! binary. A [`WeightFile`] is one parsed header (GGUF, safetensors or a PyTorch pickle); a
//! [`Weights`] is all files of one model part under one naming, ours; a [`Scope`] is a prefix of
//! those names beside the device that its tensors go to. Tensors are read one by one, so that no
//! second copy of a model is ever held.
//!
//! A quantized weight is several tensors: its companions say how it is read. A tensor of a part's own
//! names that nothing reads refuses the file, since it may change what the others mean.
//!
//! Headers are checked once, on opening: every range that a later read asks for lies inside its
//! file, and nothing is allocated that the file's own length does not justify.
//!
//! Left out: downloading and mapping (`native`, `web`), and writing anything but GGUF.

mod asked;
mod blocks;
mod coded;
mod collect;
mod companions;
mod cursor;
mod damage;
mod file;
mod finite;
mod footprint;
pub mod gguf;
mod header;
mod held;
mod later;
mod leaves;
mod matrix;
pub(crate) mod names;
mod notes;
mod pickle;
mod place;
pub mod quant;
pub mod safetensors;
mod scope;
mod set;
mod split;
mod stored;
mod target;
mod tensor;
mod variants;

/// The metadata key of a training checkpoint's parameters, which are no LoRA: they come without alpha.
pub const CHECKPOINT_KEY: &str = "x2i.checkpoint";

pub use asked::Asked;
pub use file::{FileFormat, HostTensor, WeightFile};
pub use finite::all_finite;
pub(crate) use footprint::rows_at_once;
pub use held::Held;
pub(crate) use later::{Later, Streaming};
pub use leaves::{Leaves, Magnitude, PairNames};
pub use matrix::Matrix;
pub use names::Component;
pub use scope::{OnRead, Scope};
pub use set::Weights;
pub use split::check_split;
pub use stored::{StoredType, TensorInfo};
pub use target::Target;

use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;

use crate::error::{Error, Result};

/// A boxed future that stays on its thread: a browser's futures are not `Send`.
pub type LocalBoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Random access to one file's bytes. A thread may open a file and another one read it.
pub trait WeightSource: Send + Sync {
    /// The file's name, for messages.
    fn name(&self) -> &str;
    /// Its length in bytes.
    fn len(&self) -> u64;
    /// True for a file of no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The bytes of `range`; borrowed where the source has them in memory already.
    ///
    /// # Errors
    /// [`Error::Io`] when reading fails, [`Error::Format`] when the range leaves the file.
    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>>;
    /// The same bytes for as long as the caller keeps them, where nothing needs to be copied for
    /// that: a memory map, or a part of the executable. `None` elsewhere, and outside of the file.
    fn share(&self, _range: Range<u64>) -> Option<Bytes> {
        None
    }
    /// Hears that `range` was copied and is not looked at for now: a memory map gives its pages
    /// back. Reading it again stays possible.
    fn release(&self, range: Range<u64>) {
        let _ = range;
    }
}

/// A file whose bytes are in memory: embedded in the binary, or a test's.
#[derive(Debug, Clone)]
pub struct MemorySource {
    name: String,
    bytes: Cow<'static, [u8]>,
}

impl MemorySource {
    /// A file of these bytes; `name` is for messages.
    pub fn new(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
        }
    }
}

impl WeightSource for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let found = usize::try_from(range.start)
            .ok()
            .zip(usize::try_from(range.end).ok())
            .and_then(|(start, end)| self.bytes.get(start..end))
            .map(Cow::Borrowed)
            .ok_or_else(|| {
                let reason = format!(
                    "bytes {}..{} were asked for, the file ends at {}",
                    range.start,
                    range.end,
                    self.bytes.len()
                );
                Error::format(&self.name, reason)
            });
        Box::pin(std::future::ready(found))
    }

    fn share(&self, range: Range<u64>) -> Option<Bytes> {
        let Cow::Borrowed(bytes) = self.bytes else {
            return None;
        };
        let (start, end) = (range.start.try_into().ok()?, range.end.try_into().ok()?);
        bytes
            .get::<Range<usize>>(start..end)
            .map(Bytes::from_static)
    }
}

/// A number of bytes that one piece of memory can hold. Files may be larger than that: on wasm32
/// the limit is 2 GiB.
///
/// # Errors
/// [`Error::Format`] naming `what` in `file`.
fn memory_len(file: &str, what: impl Display, bytes: u64) -> Result<usize> {
    let fits = isize::try_from(bytes).ok();
    fits.map(isize::unsigned_abs).ok_or_else(|| {
        let most = isize::MAX;
        let reason = format!("{what} takes {bytes} bytes; at most {most} fit together here");
        Error::format(file, reason)
    })
}

/// Reads `range` and makes sure that all of it came, whoever implements the source.
pub(crate) async fn read_range(
    source: &dyn WeightSource,
    range: Range<u64>,
) -> Result<Cow<'_, [u8]>> {
    let wanted = range.end.saturating_sub(range.start);
    let (start, end) = (range.start, range.end);
    let length = memory_len(source.name(), "a range", wanted)?;
    let bytes = source.read(range).await?;
    if bytes.len() != length {
        let reason = format!(
            "reading bytes {start}..{end} gave {} bytes instead of {wanted}",
            bytes.len()
        );
        return Err(Error::format(source.name(), reason));
    }
    Ok(bytes)
}
