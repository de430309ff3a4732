//! The members of a tar, in order, with the byte of every fault.
//!
//! Read: ustar with prefixes, GNU's long names and numbers, pax paths and sizes. Links, folders and
//! devices are passed over. A size is believed only as far as the file goes.

use std::io;

use x2i_core::Error;

use super::file::{DataFile, Window};
use super::header::{self, BLOCK, Header};
use super::problem::Problem;

/// The most bytes of a long name or of pax records.
const MOST_EXTRA: u64 = 1 << 20;

/// A regular file in a tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    /// Where its bytes begin.
    pub(super) at: u64,
    pub(super) size: u64,
}

/// Why a shard ends before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The tar itself is wrong at this byte; the name of the member that is cut.
    Broken {
        problem: Problem,
        byte: u64,
        name: Option<Vec<u8>>,
    },
    /// The file can't be read.
    Unread(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        // A file that got shorter meanwhile is cut like any other.
        match &error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Broken {
                    problem: Problem::Truncated,
                    byte: 0,
                    name: None,
                }
            }
            _ => Self::Unread(error),
        }
    }
}

/// The members of a tar.
pub(super) struct Members<'a> {
    window: Window<'a>,
    len: u64,
    at: u64,
    /// What GNU's long names or pax say of the next member.
    long_name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<'a> Members<'a> {
    pub(super) fn of(file: &'a DataFile) -> Self {
        Self {
            window: Window::of(file),
            len: file.len(),
            at: 0,
            long_name: None,
            size: None,
        }
    }

    /// The next member that is a regular file; none at the end.
    ///
    /// # Errors
    /// What ends the shard.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Stop> {
        if self.len == 0 {
            return Err(self.broken(Problem::Empty, None));
        }
        while let Some(header) = self.header()? {
            let size = self.size.take().unwrap_or(header.size);
            let long_name = self.long_name.take();
            let (at, end) = (self.at, self.at.checked_add(size));
            let named = match header.kind {
                b'L' | b'K' | b'x' | b'X' | b'g' => None,
                _ => Some(long_name.clone().unwrap_or_else(|| header.name.clone())),
            };
            let Some(end) = end.filter(|&end| end <= self.len) else {
                return Err(self.broken(Problem::Truncated, named));
            };
            match header.kind {
                b'L' => self.long_name = Some(header::text(self.extra(at, size)?).to_vec()),
                b'x' | b'X' => {
                    self.long_name = long_name;
                    let records = self.extra(at, size)?.to_vec();
                    let broken = self.broken(Problem::BadHeader, None);
                    self.pax(&records).ok_or(broken)?;
                }
                _ => {}
            }
            // The last member's padding may be missing, as the end marker may.
            self.at = end.next_multiple_of(BLOCK as u64);
            if let (b'0' | 0, Some(name)) = (header.kind, named) {
                return Ok(Some(Member { name, at, size }));
            }
        }
        Ok(None)
    }

    /// The next header, behind which `at` then is; none at the end.
    fn header(&mut self) -> Result<Option<Header>, Stop> {
        let first = self.at == 0;
        if self.at >= self.len {
            return Ok(None);
        }
        if self.at + BLOCK as u64 > self.len {
            let problem = if first {
                Problem::NotATar
            } else {
                Problem::Truncated
            };
            return Err(self.broken(problem, None));
        }
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if header::is_end(&block) {
            return Ok(None);
        }
        let Some(header) = header::parse(&block) else {
            let problem = if first {
                Problem::NotATar
            } else {
                Problem::BadHeader
            };
            return Err(self.broken(problem, None));
        };
        self.at += BLOCK as u64;
        let mut more = header.extended;
        while more {
            let Some(block) = self.block()? else {
                return Err(self.broken(Problem::Truncated, None));
            };
            self.at += BLOCK as u64;
            more = block[504] != 0;
        }
        Ok(Some(header))
    }

    /// The block at `at`; none where the file ends.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Stop> {
        if self.at.saturating_add(BLOCK as u64) > self.len {
            return Ok(None);
        }
        let bytes = self.window.read(self.at, BLOCK)?;
        Ok(bytes.try_into().ok())
    }

    /// The bytes of a long name or of pax records.
    fn extra(&mut self, at: u64, size: u64) -> Result<&[u8], Stop> {
        if size > MOST_EXTRA {
            return Err(self.broken(Problem::BadHeader, None));
        }
        Ok(self.window.read(at, size as usize)?)
    }

    /// Reads pax records (`length key=value` and a newline) for the next member; none where they are
    /// damaged.
    fn pax(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() && records[0] != 0 {
            let space = records.iter().take(20).position(|&byte| byte == b' ')?;
            let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
            let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let value = &record[equals + 1..];
            match &record[..equals] {
                b"path" => self.long_name = Some(value.to_vec()),
                b"size" => self.size = Some(std::str::from_utf8(value).ok()?.parse().ok()?),
                _ => {}
            }
            records = &records[length..];
        }
        Some(())
    }

    fn broken(&self, problem: Problem, name: Option<Vec<u8>>) -> Stop {
        Stop::Broken {
            problem,
            byte: self.at,
            name,
        }
    }
}
