//! The container of `torch.save` since PyTorch 1.6: a zip archive of stored entries.
//!
//! `NAME/data.pkl` is the pickle, `NAME/data/KEY` each storage, `NAME/byteorder` the writer's. The
//! central directory is read by ranges from the file's end, then one local header per storage;
//! nothing else. Source: PKWARE's APPNOTE 6.3. Refused: compression (a state dict is stored, so a
//! compressed entry can only be a bomb or a file of another program), encryption, several disks.

use std::collections::HashMap;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::weights::cursor::{Cursor, Stop};
use crate::weights::header::Header;
use crate::weights::{WeightSource, read_range};

use super::flatten::flatten;
use super::machine;

/// The longest central directory: a hundred thousand entries.
const MAX_DIRECTORY: u64 = 16 << 20;
/// The longest pickle: a hundred thousand tensors.
const MAX_PICKLE: u64 = 16 << 20;

const END: &[u8; 4] = b"PK\x05\x06";
const END_LEN: u64 = 22;
const LOCATOR: &[u8; 4] = b"PK\x06\x07";
const LOCATOR_LEN: u64 = 20;
const END_64: &[u8; 4] = b"PK\x06\x06";
const END_64_LEN: u64 = 56;
const ENTRY: &[u8; 4] = b"PK\x01\x02";
const LOCAL: &[u8; 4] = b"PK\x03\x04";
const LOCAL_LEN: u64 = 30;
/// The id of the extra field with 64-bit sizes.
const ZIP_64: u16 = 1;

/// The central directory's place and its number of entries.
#[derive(Debug)]
struct Directory {
    range: Range<u64>,
    entries: u64,
}

/// An entry of the central directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) local_header: u64,
    pub(super) length: u64,
    /// CRC-32 of its bytes.
    pub(super) checksum: u32,
}

/// An archive whose directory was read.
pub(super) struct Archive {
    pub(super) entries: HashMap<String, Entry>,
    /// Where the directory begins: no entry reaches further.
    directory: u64,
}

/// Reads the directory.
pub(super) async fn open(source: &dyn WeightSource) -> Result<Archive> {
    let directory = find_directory(source).await?;
    let bytes = read_range(source, directory.range.clone()).await?;
    let cursor = Cursor::new(&bytes, bytes.len() as u64);
    let entries = list(cursor, &directory).map_err(|stop| stopped(source, stop))?;
    Ok(Archive {
        entries,
        directory: directory.range.start,
    })
}

fn stopped(source: &dyn WeightSource, stop: Stop) -> Error {
    let reason = match stop {
        Stop::Bad(reason) => reason.into_owned(),
        Stop::Short(_) => "the archive's directory or its pickle is cut off".to_owned(),
    };
    Error::format(source.name(), reason)
}

/// Finds, parses and checks the pickle, then finds each storage.
pub(in crate::weights) async fn read_header(source: &dyn WeightSource) -> Result<Header> {
    let bad = |reason: String| Error::format(source.name(), reason);
    let stopped = |stop| stopped(source, stop);
    let archive = open(source).await?;
    let entries = &archive.entries;
    let root = find_root(entries).map_err(bad)?;
    let path = format!("{root}/data.pkl");
    let range = archive.locate(source, &path, entries[&path]).await?;
    if range.end - range.start > MAX_PICKLE {
        return Err(bad(format!(
            "`{path}` is over the limit of {MAX_PICKLE} bytes"
        )));
    }
    let path = format!("{root}/byteorder");
    if let Some(&entry) = entries.get(&path) {
        let range = archive.locate(source, &path, entry).await?;
        if range.end - range.start != 6 || *read_range(source, range).await? != *b"little" {
            return Err(bad(
                "the file was not written on a little-endian machine".to_owned()
            ));
        }
    }
    let pickle = read_range(source, range).await?;
    let length = pickle.len() as u64;
    let loaded = machine::load(&mut Cursor::new(&pickle, length)).map_err(stopped)?;
    let flat = flatten(&loaded, length).map_err(bad)?;
    let mut starts = Vec::with_capacity(loaded.arena.storages.len());
    for storage in &loaded.arena.storages {
        let path = format!("{root}/data/{}", storage.key);
        let entry = entries.get(&path);
        let entry = *entry.ok_or_else(|| bad(format!("the archive has no `{path}`")))?;
        let needed = storage
            .elements
            .checked_mul(storage.stored.block_bytes() as u64);
        if needed.is_none_or(|needed| needed > entry.length) {
            return Err(bad(format!(
                "`{path}` has {} bytes, its tensors need {} elements of {}",
                entry.length, storage.elements, storage.stored
            )));
        }
        let range = archive.locate(source, &path, entry).await?;
        starts.push(range.start);
    }
    Ok(flat.into_header(&loaded.arena, &starts))
}

/// Finds the central directory from the record at the file's end.
async fn find_directory(source: &dyn WeightSource) -> Result<Directory> {
    let bad = |reason: &'static str| Error::format(source.name(), reason);
    let missing = || bad("truncated or damaged: the archive's end record is missing");
    let len = source.len();
    // The end record is last but for a comment of up to 64 KB.
    let tail_start = len.saturating_sub(END_LEN + LOCATOR_LEN + u64::from(u16::MAX));
    let tail = read_range(source, tail_start..len).await?;
    let at = tail.windows(END.len()).rposition(|window| window == END);
    let at = at.ok_or_else(missing)?;
    let end_at = tail_start + at as u64;
    let mut cursor = Cursor::new(&tail[at..], (tail.len() - at) as u64);
    let cut = |_| missing();
    cursor.take(4).map_err(cut)?;
    let disks = cursor.u32().map_err(cut)?;
    let entries_here = u64::from(cursor.u16().map_err(cut)?);
    let entries = u64::from(cursor.u16().map_err(cut)?);
    let length = u64::from(cursor.u32().map_err(cut)?);
    let start = u64::from(cursor.u32().map_err(cut)?);
    let comment = u64::from(cursor.u16().map_err(cut)?);
    if cursor.remaining() != comment {
        return Err(missing());
    }
    let mut directory = (entries_here, entries, length, start);
    let mut limit = end_at;
    let needs_64 = entries == u64::from(u16::MAX)
        || length == u64::from(u32::MAX)
        || start == u64::from(u32::MAX);
    let locator_at = end_at.checked_sub(LOCATOR_LEN);
    if needs_64 && let Some(locator_at) = locator_at {
        let locator = read_range(source, locator_at..end_at).await?;
        if locator.starts_with(LOCATOR) {
            (directory, limit) = end_64(source, &locator, locator_at).await?;
        }
    }
    let (entries_here, entries, length, start) = directory;
    if disks != 0 || entries_here != entries {
        return Err(bad("the archive is spread over several disks"));
    }
    let end = start.checked_add(length).filter(|&end| end <= limit);
    let end = end.ok_or_else(|| bad("the archive's directory lies outside the file"))?;
    if length > MAX_DIRECTORY {
        return Err(bad("the archive's directory is over the limit of 16 MB"));
    }
    Ok(Directory {
        range: start..end,
        entries,
    })
}

/// The 64-bit end record: (entries on this disk, entries, length, start) and its own place.
async fn end_64(
    source: &dyn WeightSource,
    locator: &[u8],
    locator_at: u64,
) -> Result<((u64, u64, u64, u64), u64)> {
    let bad = || Error::format(source.name(), "the archive's 64-bit end record is damaged");
    let at = u64::from_le_bytes(std::array::from_fn(|i| locator[8 + i]));
    let end = at.checked_add(END_64_LEN).filter(|&end| end <= locator_at);
    let record = read_range(source, at..end.ok_or_else(bad)?).await?;
    if !record.starts_with(END_64) {
        return Err(bad());
    }
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| record[at + i]));
    Ok(((number(24), number(32), number(40), number(48)), at))
}

/// All entries of the central directory by path.
fn list(mut cursor: Cursor<'_>, directory: &Directory) -> Result<HashMap<String, Entry>, Stop> {
    let mut entries = HashMap::new();
    for _ in 0..directory.entries {
        if cursor.take(4)? != ENTRY {
            return Err(Stop::bad("the archive's directory is damaged"));
        }
        cursor.take(4)?; // versions
        let flags = cursor.u16()?;
        let method = cursor.u16()?;
        cursor.take(4)?; // time, date
        let checksum = cursor.u32()?;
        let mut stored = u64::from(cursor.u32()?);
        let mut length = u64::from(cursor.u32()?);
        let name_len = cursor.u16()?;
        let extra_len = cursor.u16()?;
        let comment_len = cursor.u16()?;
        cursor.take(8)?; // disk, attributes
        let mut local_header = u64::from(cursor.u32()?);
        let path = cursor.text(name_len.into(), "archive's path")?;
        let extra = cursor.take(extra_len.into())?;
        cursor.take(comment_len.into())?;
        widen(extra, [&mut length, &mut stored, &mut local_header])?;
        if method != 0 {
            return Err(Stop::bad(format!(
                "`{path}` in the archive is compressed, which torch.save never does"
            )));
        }
        if flags & 1 != 0 {
            return Err(Stop::bad(format!("`{path}` in the archive is encrypted")));
        }
        if stored != length {
            return Err(Stop::bad(format!(
                "`{path}` in the archive has two lengths"
            )));
        }
        let entry = Entry {
            local_header,
            length,
            checksum,
        };
        if entries.insert(path.to_owned(), entry).is_some() {
            return Err(Stop::bad(format!("`{path}` is in the archive twice")));
        }
    }
    Ok(entries)
}

/// Takes 64-bit numbers from the extra field for those that did not fit into 32 bits.
fn widen(extra: &[u8], numbers: [&mut u64; 3]) -> Result<(), Stop> {
    if numbers.iter().all(|number| **number != u64::from(u32::MAX)) {
        return Ok(());
    }
    let mut fields = Cursor::new(extra, extra.len() as u64);
    while fields.remaining() > 0 {
        let id = fields.u16()?;
        let length = fields.u16()?;
        let field = fields.take(length.into())?;
        if id == ZIP_64 {
            let mut field = Cursor::new(field, field.len() as u64);
            for number in numbers {
                if *number == u64::from(u32::MAX) {
                    *number = field.u64()?;
                }
            }
            break;
        }
    }
    Ok(())
}

/// The folder of the one `data.pkl`.
fn find_root(entries: &HashMap<String, Entry>) -> Result<String, String> {
    let roots = entries
        .keys()
        .filter_map(|path| path.strip_suffix("/data.pkl"));
    let mut roots: Vec<&str> = roots.collect();
    match (roots.pop(), roots.pop()) {
        (Some(root), None) => Ok(root.to_owned()),
        (None, _) => Err("this zip archive was not written by torch.save: no data.pkl".to_owned()),
        (Some(_), Some(_)) => Err("the archive has several data.pkl".to_owned()),
    }
}

impl Archive {
    /// The range of an entry's bytes: its local header has a name and padding of its own lengths.
    pub(super) async fn locate(
        &self,
        source: &dyn WeightSource,
        path: &str,
        entry: Entry,
    ) -> Result<Range<u64>> {
        let bad = || {
            let reason = format!("`{path}` in the archive lies outside it; the file is damaged");
            Error::format(source.name(), reason)
        };
        let inside = |end: &u64| *end <= self.directory;
        let header_end = entry.local_header.checked_add(LOCAL_LEN).filter(inside);
        let header_end = header_end.ok_or_else(bad)?;
        let header = read_range(source, entry.local_header..header_end).await?;
        if !header.starts_with(LOCAL) {
            return Err(bad());
        }
        let lengths =
            [26, 28].map(|at| u64::from(u16::from_le_bytes([header[at], header[at + 1]])));
        let start = header_end + lengths[0] + lengths[1];
        let end = start.checked_add(entry.length).filter(inside);
        Ok(start..end.ok_or_else(bad)?)
    }
}
