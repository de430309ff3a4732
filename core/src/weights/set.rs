//! All files of one model part under one naming, ours.
//!
//! Fused tensors (diffusers keeps q, k and v apart, BFL and we do not) are put together here, on
//! reading. Left out: which names mean what (`names`), which tensors a part is made of (`collect`), and
//! how quantized weights are computed (`coded`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Device;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::lora::{Adapters, Base, LayerChange, Lora};

use super::collect::collect;
use super::file::{HostTensor, WeightFile};
use super::names::Component;
use super::stored::StoredType;
use super::tensor::{Order, Piece, Tensor};
use super::{WeightSource, memory_len, quant, variants};

/// The tensors of one model part, by our names.
#[derive(Debug)]
pub struct Weights {
    label: String,
    files: Vec<WeightFile>,
    tensors: BTreeMap<String, Tensor>,
    ignored: Vec<String>,
    adapters: Adapters,
}

/// Values as a tensor that is joined from several types stores them. Not through [`quant::quantize`],
/// which would put every quantizer into programs that only read.
fn f32_bytes(values: &[f32]) -> impl Iterator<Item = u8> {
    values.iter().flat_map(|value| value.to_le_bytes())
}

impl Weights {
    /// Opens all files of one part and translates their names to ours.
    ///
    /// # Errors
    /// As [`WeightFile::open`] and [`Weights::new`].
    pub async fn open(
        label: impl Into<String>,
        component: Component,
        sources: Vec<Arc<dyn WeightSource>>,
    ) -> Result<Self> {
        let mut files = Vec::with_capacity(sources.len());
        for source in sources {
            files.push(WeightFile::open(source).await?);
        }
        Self::new(label, component, files)
    }

    /// Translates the names of all files of one part to ours; `label` names the part in messages.
    /// Tensors of other parts (an all-in-one checkpoint has them) are left alone.
    ///
    /// # Errors
    /// [`Error::Format`] when a tensor is there twice, when pieces of a fused tensor do not fit
    /// together, when no tensor belongs to `component`, or when one may that nothing reads;
    /// [`Error::MissingTensor`] when a piece is missing.
    pub fn new(
        label: impl Into<String>,
        component: Component,
        files: Vec<WeightFile>,
    ) -> Result<Self> {
        let label = label.into();
        let found = collect(&label, component, &files)?;
        let weights = Self {
            label,
            files,
            tensors: found.tensors,
            ignored: found.ignored,
            adapters: Adapters::default(),
        };
        if weights.tensors.is_empty() {
            let first = weights.ignored.first();
            let first = first.map_or("there is no tensor at all".to_owned(), |name| {
                format!("the first tensor is `{name}`")
            });
            let reason = format!("no tensor of a {component} is in it ({first})");
            return Err(Error::format(weights.label, reason));
        }
        if component == Component::Flux {
            weights.refuse_variants()?;
        }
        Ok(weights)
    }

    /// True when the tensor is there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Our names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Names in the files that belong to no tensor of this part.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// What messages call this part.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The files.
    pub fn files(&self) -> &[WeightFile] {
        &self.files
    }

    /// A tensor's shape after translation.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape.clone())
    }

    /// The type that [`read`](Self::read) gives: F32 for a tensor joined from several types.
    pub fn stored(&self, name: &str) -> Option<StoredType> {
        self.tensors.get(name).map(|tensor| tensor.stored)
    }

    /// Puts LoRAs beside the matrices, in place of any others: layers that are loaded from now on
    /// hold them too.
    ///
    /// # Errors
    /// [`Error::Lora`] for a file of which a part fits no matrix here.
    pub fn adapt(&mut self, loras: &[Arc<Lora>]) -> Result<()> {
        self.adapters = Adapters::new(loras, |tensor| self.shape(tensor))?;
        Ok(())
    }

    /// The LoRAs' change of the layer whose tensors begin with `layer`, on `device`.
    pub(super) async fn change(&self, layer: &str, device: &Device) -> Result<Option<LayerChange>> {
        let base = BaseMatrix {
            weights: self,
            name: format!("{layer}.weight"),
        };
        self.adapters.read(layer, device, base).await
    }

    /// The LoRAs' change of some rows of a vector, made in `values`.
    pub(super) async fn change_vector(
        &self,
        name: &str,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<()> {
        let shape = |name: &str| self.shape(name);
        self.adapters.change_vector(name, rows, values, shape).await
    }

    /// The bytes of all tensors whose names begin with `prefix`, as [`read`](Self::read) gives them.
    pub fn byte_len(&self, prefix: &str) -> u64 {
        let tensors = self.tensors.range(prefix.to_owned()..);
        let tensors = tensors.take_while(|(name, _)| name.starts_with(prefix));
        tensors.map(|(_, tensor)| tensor.byte_len()).sum()
    }

    /// The bytes of the LoRAs' changes of the same tensors on a device.
    pub(crate) fn change_len(&self, prefix: &str) -> u64 {
        self.adapters.device_len(prefix)
    }

    /// Tells the sources that a tensor's bytes were copied ([`WeightSource::release`]).
    pub(super) fn release(&self, name: &str) {
        let pieces = self.tensors.get(name).into_iter();
        let pieces = pieces.flat_map(|tensor| &tensor.pieces);
        for place in pieces.flat_map(Piece::places) {
            self.files[place.file].release(&place.name);
        }
    }

    /// The name of the file that holds the tensor (its first piece); the label if there is none.
    pub fn file_of(&self, name: &str) -> &str {
        let piece = self
            .tensors
            .get(name)
            .and_then(|tensor| tensor.pieces.first());
        piece.map_or(&self.label, |piece| self.files[piece.place.file].name())
    }

    /// Reads a tensor: contiguous, as stored (blocks stay blocks), in our layout. Borrowed when
    /// the source has the bytes in memory and nothing needs to be joined.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or what the source says.
    pub async fn read(&self, name: &str) -> Result<HostTensor<'_>> {
        let tensor = self.tensor(name)?;
        Ok(HostTensor {
            stored: tensor.stored,
            shape: tensor.shape.clone(),
            bytes: self.read_part(name, 0..tensor.elements()).await?,
        })
    }

    /// Some rows of what [`read`](Self::read) gives.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Panics
    /// For rows that the tensor does not have.
    pub async fn read_rows(&self, name: &str, rows: Range<usize>) -> Result<HostTensor<'_>> {
        let tensor = self.tensor(name)?;
        let mut shape = tensor.shape.clone();
        let row = tensor.elements() / shape[0].max(1) as u64;
        shape[0] = rows.len();
        let elements = rows.start as u64 * row..rows.end as u64 * row;
        Ok(HostTensor {
            stored: tensor.stored,
            shape,
            bytes: self.read_part(name, elements).await?,
        })
    }

    /// What [`read`](Self::read) gives, where the source shares it and nothing needs to be joined.
    pub fn share(&self, name: &str) -> Option<Bytes> {
        let tensor = self.tensors.get(name)?;
        let [piece] = tensor.pieces.as_slice() else {
            return None;
        };
        let plain = piece.coded.is_none() && piece.stored == tensor.stored;
        self.files[piece.place.file]
            .share(&piece.place.name)
            .filter(|_| plain && tensor.order == Order::Joined)
    }

    /// Reads a run of a tensor's numbers, counted in the order of its rows: the bytes that
    /// [`read`](Self::read) has there. So a tensor may be larger than memory.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Panics
    /// For a run that leaves the tensor or cuts a block.
    pub async fn read_part(&self, name: &str, elements: Range<u64>) -> Result<Cow<'_, [u8]>> {
        let tensor = self.tensor(name)?;
        if let Order::Interleaved { run } = tensor.order {
            return self.interleave(name, tensor, run, elements).await;
        }
        let mut runs = tensor.runs(elements.clone());
        if let [(piece, run)] = runs.as_mut_slice()
            && piece.stored == tensor.stored
        {
            let run = std::mem::replace(run, 0..0);
            return piece.read(&self.files, run).await;
        }
        let block = tensor.stored.block_len() as u64;
        let bytes = (elements.end - elements.start) / block * tensor.stored.block_bytes() as u64;
        let what = format_args!("tensor `{name}`");
        let mut joined = Vec::with_capacity(memory_len(&self.label, what, bytes)?);
        for (piece, run) in runs {
            if piece.stored == tensor.stored {
                joined.extend_from_slice(&piece.read(&self.files, run).await?);
            } else {
                // Widened to f32; the run may begin and end inside a block of the piece's type.
                let block = piece.stored.block_len() as u64;
                let outer = run.start / block * block..run.end.next_multiple_of(block);
                let skip = (run.start - outer.start) as usize;
                let bytes = piece.read(&self.files, outer).await?;
                let values = quant::dequantize(&bytes, piece.stored);
                let values = &values[skip..skip + (run.end - run.start) as usize];
                joined.extend(f32_bytes(values));
            }
        }
        Ok(Cow::Owned(joined))
    }

    /// Puts runs of all pieces by turns. The tensors that are stored so are small: all is read.
    async fn interleave(
        &self,
        name: &str,
        tensor: &Tensor,
        run: usize,
        elements: Range<u64>,
    ) -> Result<Cow<'_, [u8]>> {
        let size = tensor.stored.block_bytes();
        let mut whole = Vec::with_capacity(tensor.pieces.len());
        for piece in &tensor.pieces {
            let part = piece.read(&self.files, 0..piece.elements()).await?;
            whole.push(if piece.stored == tensor.stored {
                part
            } else {
                let values = quant::dequantize(&part, piece.stored);
                Cow::Owned(f32_bytes(&values).collect())
            });
        }
        let what = format_args!("tensor `{name}`");
        let length = memory_len(&self.label, what, tensor.byte_len())?;
        let mut joined = Vec::with_capacity(length);
        for at in (0..whole[0].len()).step_by(run * size) {
            for piece in &whole {
                joined.extend_from_slice(&piece[at..at + run * size]);
            }
        }
        joined.truncate(elements.end as usize * size);
        joined.drain(..elements.start as usize * size);
        Ok(Cow::Owned(joined))
    }

    /// A tensor, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// A tensor that has to be there.
    pub(super) fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.get(name).ok_or_else(|| Error::MissingTensor {
            file: self.label.clone(),
            name: name.to_owned(),
        })
    }

    /// Refuses a transformer that takes more than latents.
    fn refuse_variants(&self) -> Result<()> {
        let first = "img_in.weight";
        let last = self.shape("final_layer.linear.weight");
        let shapes = self.shape(first).zip(last);
        match shapes.and_then(|(first, last)| variants::refusal(&first, &last)) {
            Some(reason) => Err(Error::format(
                self.file_of(first),
                format!("tensor `{first}` {reason}"),
            )),
            None => Ok(()),
        }
    }
}

/// A matrix that changes start from.
struct BaseMatrix<'a> {
    weights: &'a Weights,
    name: String,
}

impl Base for BaseMatrix<'_> {
    async fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let values = self.weights.read_rows(&self.name, rows).await?.to_f32();
        self.weights.release(&self.name);
        Ok(values)
    }
}
