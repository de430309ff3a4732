//! One weight file: its format found by its first bytes, its header parsed and checked, its
//! tensors read on demand.
//!
//! Left out: what the names mean ([`super::names`]) and which files make a model (the caller).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};

use super::gguf::MetaValue;
use super::header::Header;
use super::stored::{StoredType, TensorInfo};
use super::{WeightSource, gguf, memory_len, notes, pickle, quant, read_range, safetensors};

/// The format of a weight file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// GGUF, version 2 or 3.
    Gguf,
    /// safetensors.
    Safetensors,
    /// A PyTorch zip archive (`torch.save` since 1.6).
    PickleZip,
    /// A PyTorch file as `torch.save` wrote it before 1.6.
    PickleLegacy,
}

/// A weight file with its header parsed; tensor values stay in the source.
pub struct WeightFile {
    source: Arc<dyn WeightSource>,
    format: FileFormat,
    header: Header,
}

/// A tensor's values on the host: contiguous, as stored (blocks stay blocks).
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor<'a> {
    /// The type of the numbers in `bytes`.
    pub stored: StoredType,
    /// The shape, rows first.
    pub shape: Vec<usize>,
    /// The values, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl HostTensor<'_> {
    /// The values widened (or, from 64 bits, narrowed) to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        quant::dequantize(&self.bytes, self.stored)
    }
}

impl WeightFile {
    /// Finds the format by the file's first bytes, never by its name, then parses and checks the
    /// header.
    ///
    /// # Errors
    /// [`Error::Format`] for a file that breaks its format's rules or is none of the formats;
    /// [`Error::Io`] when reading fails.
    pub async fn open(source: Arc<dyn WeightSource>) -> Result<Self> {
        let start = read_range(&*source, 0..source.len().min(16)).await?;
        let format = detect(source.name(), &start, source.len())?;
        drop(start);
        let mut header = match format {
            FileFormat::Gguf => gguf::read_header(&*source).await?,
            FileFormat::Safetensors => safetensors::read_header(&*source).await?,
            FileFormat::PickleZip => pickle::read_zip_header(&*source).await?,
            FileFormat::PickleLegacy => pickle::read_legacy_header(&*source).await?,
        };
        header.notes = notes::read(&*source, &header.tensors).await?;
        Ok(Self {
            source,
            format,
            header,
        })
    }

    pub(super) fn source(&self) -> &dyn WeightSource {
        &*self.source
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// The format that was found.
    pub fn format(&self) -> FileFormat {
        self.format
    }

    /// Every tensor by the name that it has in the file.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.header.tensors
    }

    /// Tensors that are there and can't be read, with the names of their types. They do no harm
    /// until they are asked for: all-in-one files hold other parts, too.
    pub fn unread(&self) -> &BTreeMap<String, String> {
        &self.header.unread
    }

    /// What is wrong with a tensor of [`unread`](Self::unread).
    pub(crate) fn unreadable(&self, name: &str, stored: &str) -> Error {
        let reason = format!(
            "tensor `{name}` is stored as {stored}, which can't be read; take a file of another type"
        );
        Error::format(self.name(), reason)
    }

    /// What the header says beside the tensors: GGUF's key-value pairs in file order, or
    /// safetensors' `__metadata__`.
    pub fn metadata(&self) -> &[(String, MetaValue)] {
        &self.header.metadata
    }

    /// One metadata value.
    pub fn metadata_value(&self, key: &str) -> Option<&MetaValue> {
        let mut pairs = self.header.metadata.iter();
        pairs.find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The config that a pickle carries beside its tensors, as ComfyUI's `{config, state_dict}`.
    pub fn config(&self) -> Option<&serde_json::Value> {
        self.header.config.as_ref()
    }

    /// What a tensor says that is a small text.
    pub(super) fn note(&self, name: &str) -> Option<&[u8]> {
        self.header.notes.get(name).map(Vec::as_slice)
    }

    /// Reads one tensor by the name that it has in the file.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or whatever the source says.
    pub async fn read(&self, name: &str) -> Result<HostTensor<'_>> {
        let info = self.info(name)?;
        Ok(HostTensor {
            stored: info.stored,
            shape: info.shape.clone(),
            bytes: self.read_part(name, 0..info.elements()).await?,
        })
    }

    /// A tensor's bytes as stored, where the source [shares](WeightSource::share) them.
    pub fn share(&self, name: &str) -> Option<Bytes> {
        let info = self.header.tensors.get(name)?;
        let whole = info.strides.is_none();
        let end = info.offset.checked_add(info.byte_len())?;
        self.source.share(info.offset..end).filter(|_| whole)
    }

    /// Tells the source that one tensor's bytes were copied ([`WeightSource::release`]).
    pub fn release(&self, name: &str) {
        if let Some(info) = self.header.tensors.get(name)
            && info.strides.is_none()
        {
            self.source
                .release(info.offset..info.offset + info.byte_len());
        }
    }

    /// Reads a run of a tensor's numbers, counted in the order of its rows, as stored.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Panics
    /// For a run that leaves the tensor or cuts a block.
    pub async fn read_part(&self, name: &str, elements: Range<u64>) -> Result<Cow<'_, [u8]>> {
        let info = self.info(name)?;
        let block = info.stored.block_len() as u64;
        assert!(
            elements.start <= elements.end && elements.end <= info.elements(),
            "{elements:?} is no part of tensor `{name}`"
        );
        assert!(
            elements.start.is_multiple_of(block) && elements.end.is_multiple_of(block),
            "{elements:?} cuts blocks of tensor `{name}`"
        );
        let bytes = |elements: u64| elements / block * info.stored.block_bytes() as u64;
        let (start, end) = (bytes(elements.start), bytes(elements.end));
        let what = format_args!("tensor `{name}`");
        let length = memory_len(self.name(), what, end - start)?;
        match &info.strides {
            None => read_range(&*self.source, info.offset + start..info.offset + end).await,
            Some(strides) => self
                .gather(info, strides, elements, length)
                .await
                .map(Cow::Owned),
        }
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let info = self.header.tensors.get(name);
        info.ok_or_else(|| match self.header.unread.get(name) {
            Some(stored) => self.unreadable(name, stored),
            None => Error::MissingTensor {
                file: self.name().to_owned(),
                name: name.to_owned(),
            },
        })
    }

    /// Copies a run of a strided view into `length` contiguous bytes.
    async fn gather(
        &self,
        info: &TensorInfo,
        strides: &[usize],
        elements: Range<u64>,
        length: usize,
    ) -> Result<Vec<u8>> {
        // The header's check keeps every element inside its storage.
        let place = |element: u64| {
            let mut rest = element;
            let axes = info.shape.iter().zip(strides).rev();
            axes.fold(0, |place, (&size, &stride)| {
                let index = rest % size as u64;
                rest /= size as u64;
                place + index * stride as u64
            })
        };
        let places = || elements.clone().map(place);
        let (Some(first), Some(last)) = (places().min(), places().max()) else {
            return Ok(Vec::new());
        };
        let size = info.stored.block_bytes();
        let start = info.offset + first * size as u64;
        let span = (last - first + 1) * size as u64;
        let view = read_range(&*self.source, start..start + span).await?;
        let mut contiguous = Vec::with_capacity(length);
        for place in places() {
            // Inside the view, whose length is one of memory.
            let at = (place - first) as usize * size;
            contiguous.extend_from_slice(&view[at..at + size]);
        }
        Ok(contiguous)
    }
}

impl fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightFile")
            .field("name", &self.name())
            .field("format", &self.format)
            .field("tensors", &self.header.tensors.len())
            .finish_non_exhaustive()
    }
}

/// The format by magic bytes; safetensors has none, but its JSON starts right after its length.
fn detect(name: &str, start: &[u8], file_len: u64) -> Result<FileFormat> {
    if start.starts_with(b"GGUF") {
        return Ok(FileFormat::Gguf);
    }
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return Ok(FileFormat::PickleZip);
    }
    if pickle::is_legacy(start) {
        return Ok(FileFormat::PickleLegacy);
    }
    if start.get(8) == Some(&b'{') {
        return Ok(FileFormat::Safetensors);
    }
    let reason = if start.is_empty() {
        "the file is empty"
    } else if start.starts_with(b"version https://") {
        "this is a Git LFS pointer, not the weights; run `git lfs pull`, or download the file itself"
    } else if start.starts_with(b"<") {
        "this is a web page, not weights; download the file itself"
    } else if start.starts_with(b"\x80") {
        "this pickle was not written by torch.save; save the tensors as safetensors"
    } else if file_len < 9 {
        "truncated: too short for a weight file"
    } else {
        "not a GGUF, safetensors or PyTorch file (unknown first bytes)"
    };
    Err(Error::format(name, reason))
}
