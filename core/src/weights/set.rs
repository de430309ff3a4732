//! All files of one model part under one naming, ours.
//!
//! Fused tensors (diffusers keeps q, k and v apart, BFL and we do not) are put together here, on
//! reading. Left out: which names mean what ([`super::names`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::rc::Rc;

use burn::tensor::Device;

use crate::error::{Error, Result};

use super::file::{HostTensor, WeightFile};
use super::names::{Component, Layout, Translator};
use super::scope::Scope;
use super::stored::StoredType;
use super::{WeightSource, memory_len, quant};

/// The tensors of one model part, by our names.
#[derive(Debug)]
pub struct Weights {
    label: String,
    files: Vec<WeightFile>,
    tensors: BTreeMap<String, Tensor>,
    ignored: Vec<String>,
}

/// One tensor in our naming.
#[derive(Debug)]
struct Tensor {
    pieces: Vec<Piece>,
    halves: Halves,
    stored: StoredType,
    shape: Vec<usize>,
}

impl Tensor {
    fn byte_len(&self) -> u64 {
        self.stored.byte_len(&self.shape).unwrap_or(u64::MAX)
    }
}

/// A tensor as a file has it; several are joined along their first axis.
#[derive(Debug)]
struct Piece {
    file: usize,
    name: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Halves {
    Kept,
    Swapped,
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
        sources: Vec<Rc<dyn WeightSource>>,
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

    /// The bytes of all tensors whose names begin with `prefix`, as [`read`](Self::read) gives them.
    pub fn byte_len(&self, prefix: &str) -> u64 {
        let tensors = self.tensors.range(prefix.to_owned()..);
        let tensors = tensors.take_while(|(name, _)| name.starts_with(prefix));
        tensors.map(|(_, tensor)| tensor.byte_len()).sum()
    }

    /// The bytes that the same tensors take on a device: blocks stay blocks, the rest is f32.
    pub fn device_len(&self, prefix: &str) -> u64 {
        let tensors = self.tensors.range(prefix.to_owned()..);
        let tensors = tensors.take_while(|(name, _)| name.starts_with(prefix));
        let length = |tensor: &Tensor| match tensor.stored.is_block() {
            true => tensor.byte_len(),
            false => StoredType::F32.byte_len(&tensor.shape).unwrap_or(u64::MAX),
        };
        tensors.fold(0, |sum: u64, (_, tensor)| {
            sum.saturating_add(length(tensor))
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
        let tensor = self.tensors.get(name);
        let tensor = tensor.ok_or_else(|| Error::MissingTensor {
            file: self.label.clone(),
            name: name.to_owned(),
        })?;
        let mut bytes = if let [piece] = tensor.pieces.as_slice() {
            self.files[piece.file].read(&piece.name).await?.bytes
        } else {
            let what = format_args!("tensor `{name}`");
            let length = memory_len(&self.label, what, tensor.byte_len())?;
            let mut joined = Vec::with_capacity(length);
            for piece in &tensor.pieces {
                let part = self.files[piece.file].read(&piece.name).await?;
                if part.stored == tensor.stored {
                    joined.extend_from_slice(&part.bytes);
                } else {
                    joined.extend(quant::quantize(&part.to_f32(), StoredType::F32));
                }
            }
            Cow::Owned(joined)
        };
        if tensor.halves == Halves::Swapped {
            let middle = bytes.len() / 2;
            bytes.to_mut().rotate_left(middle);
        }
        Ok(HostTensor {
            stored: tensor.stored,
            shape: tensor.shape.clone(),
            bytes,
        })
    }

    /// The names from the root, for tensors that go to `device`.
    pub fn scope<'a>(&'a self, device: &'a Device) -> Scope<'a> {
        Scope::root(self, device)
    }

    /// Looks through all files and sorts their tensors by our names.
    fn collect(&mut self, component: Component) -> Result<BTreeMap<String, Found>> {
        let names = || {
            let tensors = self.files.iter().flat_map(|file| file.tensors().keys());
            tensors.map(String::as_str)
        };
        let translator = Translator::new(component, names());
        let mut found = BTreeMap::new();
        let mut ignored = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
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
                let piece = Piece {
                    file: index,
                    name: name.clone(),
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
            if shape.is_empty() || next.shape.get(1..) != shape.get(1..) {
                return Err(misfit());
            }
            shape[0] = shape[0].checked_add(next.shape[0]).ok_or_else(misfit)?;
            if next.stored != stored {
                stored = StoredType::F32;
            }
        }
        let bad = |reason: String| Err(Error::format(self.files[pieces[0].file].name(), reason));
        let overflows = || bad(format!("the shape of tensor `{name}` overflows"));
        let mut halves = Halves::Kept;
        match found.layout {
            Layout::AsStored => {}
            // [out, in, 1, ..] or [out, in, t, h, w] -> [out, the rest]
            Layout::Matrix if shape.len() > 2 && !stored.is_block() => {
                let rest = shape.split_off(1);
                match rest.into_iter().try_fold(1, usize::checked_mul) {
                    Some(rest) => shape.push(rest),
                    None => return overflows(),
                }
            }
            Layout::Matrix => {}
            Layout::HalvesSwapped => {
                halves = Halves::Swapped;
                let half = |rows: &usize| [&[rows / 2], &shape[1..]].concat();
                let half = shape.first().filter(|rows| *rows % 2 == 0).map(half);
                // A vector's middle may also lie inside a block.
                if half.and_then(|half| stored.byte_len(&half)).is_none() {
                    return bad(format!(
                        "tensor `{}` of shape {shape:?} should be a scale and a shift of equal size",
                        pieces[0].name
                    ));
                }
            }
        }
        if stored.byte_len(&shape).is_none() {
            return overflows();
        }
        Ok(Tensor {
            pieces,
            halves,
            stored,
            shape,
        })
    }
}
