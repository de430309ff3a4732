//! All files of one model part under one naming, ours.
//!
//! Fused tensors (diffusers keeps q, k and v apart, BFL and we do not) are put together here, on
//! reading. Left out: which names mean what ([`super::names`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Device;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::lora::{Adapters, Base, LayerChange, Lora};

use super::file::{HostTensor, WeightFile};
use super::footprint::Target;
use super::names::{Component, Layout, Translator};
use super::stored::{StoredType, element_count};
use super::{WeightSource, memory_len, quant};

/// The tensors of one model part, by our names.
#[derive(Debug)]
pub struct Weights {
    label: String,
    files: Vec<WeightFile>,
    tensors: BTreeMap<String, Tensor>,
    ignored: Vec<String>,
    adapters: Adapters,
}

/// One tensor in our naming.
#[derive(Debug)]
struct Tensor {
    pieces: Vec<Piece>,
    order: Order,
    stored: StoredType,
    shape: Vec<usize>,
}

impl Tensor {
    fn byte_len(&self) -> u64 {
        self.stored.byte_len(&self.shape).unwrap_or(u64::MAX)
    }

    fn elements(&self) -> u64 {
        element_count(&self.shape).unwrap_or(u64::MAX)
    }

    /// Where a run of its numbers stands: runs of pieces, in order.
    fn runs(&self, elements: Range<u64>) -> Vec<(&Piece, Range<u64>)> {
        let mut runs = Vec::new();
        let mut add = |elements: Range<u64>| {
            let mut start = 0;
            for piece in &self.pieces {
                let end = start + piece.elements;
                let run = elements.start.max(start)..elements.end.min(end);
                if run.start < run.end {
                    runs.push((piece, run.start - start..run.end - start));
                }
                start = end;
            }
        };
        if self.order == Order::HalvesSwapped {
            let half = self.elements() / 2;
            let (middle, end) = (elements.start.max(half), elements.end.min(half));
            add(elements.start + half..end + half);
            add(middle - half..elements.end.max(half) - half);
        } else {
            add(elements);
        }
        runs
    }
}

/// A tensor as a file has it.
#[derive(Debug)]
struct Piece {
    file: usize,
    name: String,
    stored: StoredType,
    elements: u64,
}

/// How the numbers of the pieces follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// One piece after the other: they are joined along their first axis.
    Joined,
    /// The second half of the one piece, then the first.
    HalvesSwapped,
    /// So many numbers of each piece by turns.
    Interleaved { run: usize },
}

/// Values as a tensor that is joined from several types stores them. Not through [`quant::quantize`],
/// which would put every quantizer into programs that only read.
fn f32_bytes(values: &[f32]) -> impl Iterator<Item = u8> {
    values.iter().flat_map(|value| value.to_le_bytes())
}

/// The pieces of one of our tensors while files are still being looked through.
struct Found {
    /// The names of all pieces in the foreign naming; one for a whole tensor.
    wanted: Vec<String>,
    pieces: Vec<Option<Piece>>,
    layout: Layout,
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
    /// together, or when no tensor belongs to `component`; [`Error::MissingTensor`] when a piece
    /// is missing.
    pub fn new(
        label: impl Into<String>,
        component: Component,
        files: Vec<WeightFile>,
    ) -> Result<Self> {
        let mut weights = Self {
            label: label.into(),
            files,
            tensors: BTreeMap::new(),
            ignored: Vec::new(),
            adapters: Adapters::default(),
        };
        for (name, found) in weights.collect(component)? {
            let tensor = weights.join(&name, found)?;
            weights.tensors.insert(name, tensor);
        }
        if weights.tensors.is_empty() {
            let first = weights.ignored.first();
            let first = first.map_or("there is no tensor at all".to_owned(), |name| {
                format!("the first tensor is `{name}`")
            });
            let reason = format!("no tensor of a {component} is in it ({first})");
            return Err(Error::format(weights.label, reason));
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

    /// The bytes that the same tensors take on `device`, with their LoRAs.
    pub fn device_len(&self, prefix: &str, device: &Device) -> u64 {
        let target = Target::of(device);
        let tensors = self.tensors.range(prefix.to_owned()..);
        let tensors = tensors.take_while(|(name, _)| name.starts_with(prefix));
        tensors.fold(self.adapters.device_len(prefix), |sum, (_, tensor)| {
            sum.saturating_add(target.loaded_len(tensor.stored, &tensor.shape))
        })
    }

    /// Tells the sources that a tensor's bytes were copied ([`WeightSource::release`]).
    pub(super) fn release(&self, name: &str) {
        for piece in self
            .tensors
            .get(name)
            .iter()
            .flat_map(|tensor| &tensor.pieces)
        {
            self.files[piece.file].release(&piece.name);
        }
    }

    /// The name of the file that holds the tensor (its first piece); the label if there is none.
    pub fn file_of(&self, name: &str) -> &str {
        let piece = self
            .tensors
            .get(name)
            .and_then(|tensor| tensor.pieces.first());
        piece.map_or(&self.label, |piece| self.files[piece.file].name())
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
        let as_stored = tensor.order == Order::Joined && piece.stored == tensor.stored;
        self.files[piece.file]
            .share(&piece.name)
            .filter(|_| as_stored)
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
            return self.files[piece.file].read_part(&piece.name, run).await;
        }
        let block = tensor.stored.block_len() as u64;
        let bytes = (elements.end - elements.start) / block * tensor.stored.block_bytes() as u64;
        let what = format_args!("tensor `{name}`");
        let mut joined = Vec::with_capacity(memory_len(&self.label, what, bytes)?);
        for (piece, run) in runs {
            let file = &self.files[piece.file];
            if piece.stored == tensor.stored {
                joined.extend_from_slice(&file.read_part(&piece.name, run).await?);
            } else {
                // Widened to f32; the run may begin and end inside a block of the piece's type.
                let block = piece.stored.block_len() as u64;
                let outer = run.start / block * block..run.end.next_multiple_of(block);
                let skip = (run.start - outer.start) as usize;
                let bytes = file.read_part(&piece.name, outer).await?;
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
            let part = self.files[piece.file].read(&piece.name).await?;
            whole.push(if piece.stored == tensor.stored {
                part.bytes
            } else {
                Cow::Owned(f32_bytes(&part.to_f32()).collect())
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

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        let tensor = self.tensors.get(name);
        tensor.ok_or_else(|| Error::MissingTensor {
            file: self.label.clone(),
            name: name.to_owned(),
        })
    }

    /// Looks through all files and sorts their tensors by our names.
    fn collect(&mut self, component: Component) -> Result<BTreeMap<String, Found>> {
        let names = || {
            let tensors = self.files.iter().flat_map(|file| file.tensors().keys());
            let unread = self.files.iter().flat_map(|file| file.unread().keys());
            tensors.chain(unread).map(String::as_str)
        };
        let translator = Translator::new(component, names());
        let mut found = BTreeMap::new();
        let mut ignored = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            for (name, stored) in file.unread() {
                if translator.translate(name).is_some() {
                    return Err(file.unreadable(name, stored));
                }
                ignored.push(name.clone());
            }
            for name in file.tensors().keys() {
                let Some(target) = translator.translate(name) else {
                    ignored.push(name.clone());
                    continue;
                };
                let slot = match found.entry(target.name) {
                    btree_map::Entry::Vacant(entry) => {
                        let pieces = target.pieces.iter().map(|_| None).collect();
                        entry.insert(Found {
                            wanted: target.pieces,
                            pieces,
                            layout: target.layout,
                        })
                    }
                    btree_map::Entry::Occupied(entry) => entry.into_mut(),
                };
                let info = &file.tensors()[name];
                let piece = Piece {
                    file: index,
                    name: name.clone(),
                    stored: info.stored,
                    elements: info.elements(),
                };
                // A whole tensor beside pieces of the same one has another number of pieces.
                let place = slot.pieces.get_mut(target.index);
                if place.is_none_or(|place| place.replace(piece).is_some()) {
                    let reason = format!("tensor `{name}` is there twice");
                    return Err(Error::format(file.name(), reason));
                }
            }
        }
        self.ignored = ignored;
        Ok(found)
    }

    /// Checks that the pieces of a tensor are all there and fit together.
    fn join(&self, name: &str, found: Found) -> Result<Tensor> {
        let mut pieces = Vec::with_capacity(found.pieces.len());
        for (piece, wanted) in found.pieces.into_iter().zip(found.wanted) {
            pieces.push(piece.ok_or_else(|| Error::MissingTensor {
                file: self.label.clone(),
                name: wanted,
            })?);
        }
        let info = |piece: &Piece| &self.files[piece.file].tensors()[&piece.name];
        let first = info(&pieces[0]);
        let (mut stored, mut shape) = (first.stored, first.shape.clone());
        for piece in &pieces[1..] {
            let next = info(piece);
            let misfit = || {
                let reason = format!(
                    "tensor `{}` of shape {:?} can't be joined to {shape:?} as a part of `{name}`",
                    piece.name, next.shape
                );
                Error::format(self.files[piece.file].name(), reason)
            };
            if found.layout == Layout::Interleaved {
                if next.shape != first.shape || stored.is_block() || next.stored.is_block() {
                    return Err(misfit());
                }
            } else {
                if shape.is_empty() || next.shape.get(1..) != shape.get(1..) {
                    return Err(misfit());
                }
                shape[0] = shape[0].checked_add(next.shape[0]).ok_or_else(misfit)?;
            }
            if next.stored != stored {
                stored = StoredType::F32;
            }
        }
        let (order, shape) =
            arrange(found.layout, pieces.len(), stored, shape).map_err(|reason| {
                let reason = format!("tensor `{}` {reason}", pieces[0].name);
                Error::format(self.files[pieces[0].file].name(), reason)
            })?;
        Ok(Tensor {
            pieces,
            order,
            stored,
            shape,
        })
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

/// The order and the shape in which our tensor has the numbers of one of `shape`, which for
/// interleaved ones is that of each of the `pieces`.
///
/// # Errors
/// What is wrong with the tensor, to follow its name.
fn arrange(
    layout: Layout,
    pieces: usize,
    stored: StoredType,
    mut shape: Vec<usize>,
) -> Result<(Order, Vec<usize>), String> {
    let overflows = || "has a shape that overflows".to_owned();
    let mut order = Order::Joined;
    match layout {
        Layout::AsStored => {}
        // [out, in, 1, ..] or [out, in, t, h, w] -> [out, the rest]
        Layout::Matrix if shape.len() > 2 && !stored.is_block() => {
            let rest = shape.split_off(1);
            let rest = rest.into_iter().try_fold(1, usize::checked_mul);
            shape.push(rest.ok_or_else(overflows)?);
        }
        Layout::Matrix => {}
        // [out, in, h, w] of each frame -> [out, in * frames * h * w]
        Layout::Interleaved => {
            let &[out, channels, height, width] = shape.as_slice() else {
                return Err(format!("of shape {shape:?} should have four axes"));
            };
            let run = height.checked_mul(width).ok_or_else(overflows)?;
            let rest = run.checked_mul(channels);
            let rest = rest.and_then(|rest| rest.checked_mul(pieces));
            shape = vec![out, rest.ok_or_else(overflows)?];
            order = Order::Interleaved { run: run.max(1) };
        }
        Layout::HalvesSwapped => {
            order = Order::HalvesSwapped;
            let half = |rows: &usize| [&[rows / 2], &shape[1..]].concat();
            let half = shape.first().filter(|rows| *rows % 2 == 0).map(half);
            // A vector's middle may also lie inside a block.
            if half.and_then(|half| stored.byte_len(&half)).is_none() {
                return Err(format!(
                    "of shape {shape:?} should be a scale and a shift of equal size"
                ));
            }
        }
    }
    match stored.byte_len(&shape) {
        Some(_) => Ok((order, shape)),
        None => Err(overflows()),
    }
}
