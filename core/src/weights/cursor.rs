//! Reading numbers from the beginning of a file of which we hold only a part.
//!
//! A header's length is not known before it is parsed (GGUF, pickles), and a source may be a
//! network. So parsers are plain functions over a prefix of the file; one that runs out says how
//! many bytes it needs, and [`parse_prefix`] calls it again with a longer prefix.

use std::borrow::Cow;

use crate::error::{Error, Result};

use super::{WeightSource, read_range};

/// Why a parser stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// It needs the file's first so many bytes.
    Short(u64),
    /// The file breaks its format.
    Bad(Cow<'static, str>),
}

impl Stop {
    pub(super) fn bad(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Bad(reason.into())
    }
}

/// A position in a prefix of a file.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    prefix: &'a [u8],
    at: usize,
    file_len: u64,
}

impl<'a> Cursor<'a> {
    /// Starts at the file's first byte; `file_len` is the whole file's length.
    pub(super) fn new(prefix: &'a [u8], file_len: u64) -> Self {
        Self {
            prefix,
            at: 0,
            file_len,
        }
    }

    /// Bytes passed so far.
    pub(super) fn position(&self) -> u64 {
        self.at as u64
    }

    /// Bytes from here to the end of the file.
    pub(super) fn remaining(&self) -> u64 {
        self.file_len - self.at as u64
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Stop> {
        if count > self.remaining() {
            let reason = format!(
                "truncated: {count} bytes should follow byte {}, the file ends at {}",
                self.at, self.file_len
            );
            return Err(Stop::bad(reason));
        }
        // Both fit: the count is at most the file's length.
        let end = self.at as u64 + count;
        let bytes = usize::try_from(end)
            .ok()
            .and_then(|end| self.prefix.get(self.at..end))
            .ok_or(Stop::Short(end))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let bytes = self.take(N as u64)?;
        Ok(std::array::from_fn(|i| bytes[i]))
    }

    pub(super) fn u8(&mut self) -> Result<u8, Stop> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Stop> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Stop> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Stop> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next `count` bytes as text; `what` names it in messages.
    pub(super) fn text(&mut self, count: u64, what: &str) -> Result<&'a str, Stop> {
        let start = self.at;
        std::str::from_utf8(self.take(count)?)
            .map_err(|_| Stop::bad(format!("the {what} at byte {start} is not UTF-8")))
    }
}

/// Parses the beginning of a file, reading more of it, at most `limit` bytes, until it suffices.
pub(super) async fn parse_prefix<T>(
    source: &dyn WeightSource,
    limit: u64,
    mut parse: impl FnMut(Cursor<'_>) -> Result<T, Stop>,
) -> Result<T> {
    /// Most headers fit, and over a network it is one request.
    const FIRST_READ: u64 = 256 * 1024;
    let file_len = source.len();
    let end = file_len.min(limit);
    let mut length = end.min(FIRST_READ);
    loop {
        let prefix = read_range(source, 0..length).await?;
        let reason = match parse(Cursor::new(&prefix, file_len)) {
            Ok(parsed) => return Ok(parsed),
            Err(Stop::Bad(reason)) => reason,
            Err(Stop::Short(needed)) if needed <= end && length < end => {
                length = needed.max(length.saturating_mul(4)).min(end);
                continue;
            }
            Err(Stop::Short(_)) => format!("its header is over the limit of {limit} bytes").into(),
        };
        return Err(Error::format(source.name(), reason));
    }
}
