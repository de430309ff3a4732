//! The GGUF writer: the header first, then one tensor after another, so that a conversion never
//! holds a whole model in memory.
//!
//! Source: byte for byte what ggml's `gguf-py` writes, with the padding after the last tensor.

use std::collections::HashSet;
use std::io::Write;

use crate::error::{Error, Result};
use crate::weights::stored::StoredType;

use super::meta::write_string;
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GGML_TYPES, MAX_DIMS, MetaValue};

/// A GGUF file that is about to be written: its header, complete and checked.
#[derive(Debug)]
pub struct GgufWriter {
    header: Vec<u8>,
    alignment: usize,
    /// Name and length of each tensor, in the order of writing.
    tensors: Vec<(String, u64)>,
}

impl GgufWriter {
    /// Plans a file of these key-value pairs and tensors: name, type and shape (rows first).
    ///
    /// # Errors
    /// [`Error::Format`] for names or keys that are there twice, more than four axes, an array of
    /// mixed values, rows that do not divide into blocks, or a type that ggml does not have.
    pub fn new(
        metadata: Vec<(String, MetaValue)>,
        tensors: Vec<(String, StoredType, Vec<usize>)>,
    ) -> Result<Self> {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend((tensors.len() as u64).to_le_bytes());
        header.extend((metadata.len() as u64).to_le_bytes());
        let alignment = write_metadata(&metadata, &mut header)?;
        let planned = write_places(&tensors, alignment, &mut header)?;
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        Ok(Self {
            header,
            alignment: alignment as usize,
            tensors: planned,
        })
    }

    /// The length of the whole file.
    pub fn file_len(&self) -> u64 {
        let lengths = self.tensors.iter().map(|(_, length)| *length);
        let padded = lengths.map(|length| length.next_multiple_of(self.alignment as u64));
        self.header.len() as u64 + padded.sum::<u64>()
    }

    /// Writes the header to `out`, which messages call `file`. Give a buffered writer.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn start<W: Write>(self, file: impl Into<String>, out: W) -> Result<GgufBody<W>> {
        let mut body = GgufBody {
            file: file.into(),
            out,
            alignment: self.alignment,
            tensors: self.tensors.into_iter(),
            current: None,
            written: 0,
        };
        body.write_all(&self.header)?;
        Ok(body)
    }
}

/// Appends all key-value pairs; gives the alignment of tensors, in bytes.
fn write_metadata(metadata: &[(String, MetaValue)], header: &mut Vec<u8>) -> Result<u64> {
    let mut alignment = DEFAULT_ALIGNMENT;
    let mut seen = HashSet::new();
    for (key, value) in metadata {
        if !seen.insert(key) {
            return refuse(format!("the metadata key `{key}` is there twice"));
        }
        if !value.is_uniform() {
            return refuse(format!(
                "the metadata key `{key}` has an array of mixed types"
            ));
        }
        if key == ALIGNMENT_KEY {
            alignment = match value {
                MetaValue::U32(n) if super::is_alignment((*n).into()) => (*n).into(),
                _ => return refuse(format!("{ALIGNMENT_KEY} must be a power of two as U32")),
            };
        }
        write_string(key, header);
        header.extend((value.meta_type() as u32).to_le_bytes());
        value.write(header);
    }
    Ok(alignment)
}

/// Appends name, shape, type and offset of every tensor; gives name and length of each, in bytes.
fn write_places(
    tensors: &[(String, StoredType, Vec<usize>)],
    alignment: u64,
    header: &mut Vec<u8>,
) -> Result<Vec<(String, u64)>> {
    let mut seen = HashSet::new();
    let mut planned = Vec::with_capacity(tensors.len());
    let mut offset = 0u64;
    for (name, stored, shape) in tensors {
        if !seen.insert(name) {
            return refuse(format!("tensor `{name}` is there twice"));
        }
        let (number, length) = check_tensor(name, *stored, shape)?;
        write_string(name, header);
        header.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            header.extend((size as u64).to_le_bytes());
        }
        header.extend(number.to_le_bytes());
        header.extend(offset.to_le_bytes());
        let end = offset.checked_add(length);
        let Some(next) = end.and_then(|end| end.checked_next_multiple_of(alignment)) else {
            return refuse(format!("tensor `{name}` makes the file too large"));
        };
        offset = next;
        planned.push((name.clone(), length));
    }
    Ok(planned)
}

/// ggml's number of the tensor's type, and the tensor's length in bytes.
fn check_tensor(name: &str, stored: StoredType, shape: &[usize]) -> Result<(u32, u64)> {
    if shape.len() > MAX_DIMS {
        return refuse(format!(
            "tensor `{name}` has {} axes, GGUF allows {MAX_DIMS}; flatten it",
            shape.len()
        ));
    }
    let Some((number, _)) = GGML_TYPES.iter().find(|(_, known)| *known == stored) else {
        return refuse(format!("tensor `{name}`: GGUF has no type {stored}"));
    };
    let Some(length) = stored.byte_len(shape) else {
        return refuse(format!(
            "tensor `{name}` of shape {shape:?} does not divide into blocks of {stored}"
        ));
    };
    Ok((*number, length))
}

fn refuse<T>(reason: String) -> Result<T> {
    Err(Error::format("GGUF writer", reason))
}

/// A GGUF file whose header is written and whose tensors follow.
#[derive(Debug)]
pub struct GgufBody<W> {
    file: String,
    out: W,
    alignment: usize,
    tensors: std::vec::IntoIter<(String, u64)>,
    current: Option<Unfinished>,
    /// Bytes of the current tensor so far, modulo the alignment.
    written: usize,
}

/// A tensor of which bytes are still to come.
#[derive(Debug)]
struct Unfinished {
    name: String,
    left: u64,
}

impl<W: Write> GgufBody<W> {
    /// Writes the next tensor's values, in the order that [`GgufWriter::new`] was given.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Format`] when the bytes do not fit the planned tensor.
    pub fn write_tensor(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.current()?.left;
        if bytes.len() as u64 != left {
            let name = &self.current()?.name;
            let reason = format!(
                "tensor `{name}` was planned with {left} bytes, {} were given",
                bytes.len()
            );
            return Err(Error::format(&self.file, reason));
        }
        self.write_part(bytes)
    }

    /// Writes the next bytes of a tensor, or the first of the next one.
    ///
    /// # Errors
    /// As [`write_tensor`](Self::write_tensor).
    pub fn write_part(&mut self, bytes: &[u8]) -> Result<()> {
        let current = self.current()?;
        let Some(left) = current.left.checked_sub(bytes.len() as u64) else {
            let reason = format!("tensor `{}` is given more bytes than planned", current.name);
            return Err(Error::format(&self.file, reason));
        };
        current.left = left;
        self.written = (self.written + bytes.len()) % self.alignment;
        self.write_all(bytes)?;
        if left == 0 {
            self.current = None;
            let padding = self.written.next_multiple_of(self.alignment) - self.written;
            self.written = 0;
            self.write_all(&vec![0; padding])?;
        }
        Ok(())
    }

    /// The tensor that is being written, or the next one.
    fn current(&mut self) -> Result<&mut Unfinished> {
        let current = match self.current.take() {
            Some(current) => current,
            None => {
                let next = self.tensors.next();
                let (name, left) = next
                    .ok_or_else(|| Error::format(&self.file, "one tensor more than was planned"))?;
                Unfinished { name, left }
            }
        };
        Ok(self.current.insert(current))
    }

    /// Flushes, and hands the output back.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Format`] when planned tensors were not written.
    pub fn finish(mut self) -> Result<W> {
        let unfinished = self.current.take().map(|current| current.name);
        if let Some(name) = unfinished.or_else(|| self.tensors.next().map(|(name, _)| name)) {
            let reason = format!("tensor `{name}` was planned but not written");
            return Err(Error::format(self.file, reason));
        }
        let flushed = self.out.flush();
        flushed.map_err(|source| self.io(source))?;
        Ok(self.out)
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        written.map_err(|source| self.io(source))
    }

    fn io(&self, source: std::io::Error) -> Error {
        Error::Io {
            file: self.file.clone(),
            source,
        }
    }
}
