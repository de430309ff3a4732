//! The GGUF header's parser.

use std::collections::{BTreeMap, HashSet};

use crate::error::{Error, Result};
use crate::weights::WeightSource;
use crate::weights::cursor::{Cursor, Stop, parse_prefix};
use crate::weights::header::Header;
use crate::weights::stored::{StoredType, TensorInfo, element_count};

use super::{
    ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GGML_TYPES, MAX_DIMS, MetaType, MetaValue, OTHER_TYPES,
};

/// The longest header: a vocabulary with its merges takes 10 MB.
const MAX_HEADER: u64 = 256 << 20;
/// The most tensors and the most metadata keys; FLUX has 780 tensors.
const MAX_COUNT: u64 = 1 << 20;
/// The most values in all metadata arrays together; the largest vocabularies have a million.
const MAX_VALUES: u64 = 1 << 23;
/// The deepest nesting of metadata arrays.
const MAX_DEPTH: usize = 4;
/// The longest name of a tensor or key.
const MAX_NAME: u64 = 1 << 16;

/// A tensor with its offset still counted from the start of the data.
struct Entry {
    name: String,
    /// The name of a type that is not read, and whose blocks have an unknown size.
    stored: Result<StoredType, String>,
    shape: Vec<usize>,
    offset: u64,
    /// 0 where it is not known.
    length: u64,
}

struct Parsed {
    metadata: Vec<(String, MetaValue)>,
    entries: Vec<Entry>,
    alignment: u64,
    header_len: u64,
}

/// Parses and checks the header.
pub(in crate::weights) async fn read_header(source: &dyn WeightSource) -> Result<Header> {
    let parsed = parse_prefix(source, MAX_HEADER, parse).await?;
    let start = parsed.header_len.next_multiple_of(parsed.alignment);
    let (tensors, unread) = place(parsed.entries, parsed.alignment, start, source.len())
        .map_err(|reason| Error::format(source.name(), reason))?;
    Ok(Header {
        tensors,
        unread,
        metadata: parsed.metadata,
        config: None,
    })
}

fn parse(mut cursor: Cursor<'_>) -> Result<Parsed, Stop> {
    cursor.take(4)?; // "GGUF", seen by the caller
    match cursor.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() <= 3 => {
            return Err(Stop::bad("big-endian GGUF files can't be read"));
        }
        version => {
            return Err(Stop::bad(format!(
                "GGUF version {version} can't be read, only 2 and 3"
            )));
        }
    }
    let tensor_count = cursor.u64()?;
    let key_count = cursor.u64()?;
    for (count, what) in [(tensor_count, "tensors"), (key_count, "metadata keys")] {
        // Any entry takes more than 8 bytes.
        if count > MAX_COUNT || count > cursor.remaining() / 8 {
            return Err(Stop::bad(format!(
                "the header claims {count} {what}, more than the file can hold"
            )));
        }
    }
    let metadata = metadata(&mut cursor, key_count)?;
    let mut alignment = DEFAULT_ALIGNMENT;
    if let Some((_, value)) = metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY) {
        alignment = value
            .as_u64()
            .filter(|&value| super::is_alignment(value))
            .ok_or_else(|| {
                Stop::bad(format!("{ALIGNMENT_KEY} is {value:?}, not a power of two"))
            })?;
    }
    let mut entries = Vec::new();
    for _ in 0..tensor_count {
        entries.push(entry(&mut cursor)?);
    }
    Ok(Parsed {
        metadata,
        entries,
        alignment,
        header_len: cursor.position(),
    })
}

fn metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<(String, MetaValue)>, Stop> {
    let mut metadata = Vec::new();
    let mut seen = HashSet::new();
    let mut budget = MAX_VALUES;
    for _ in 0..count {
        let key = name(cursor, "metadata key")?;
        if !seen.insert(key) {
            return Err(Stop::bad(format!(
                "the metadata key `{key}` is there twice"
            )));
        }
        let number = cursor.u32()?;
        let Some(meta_type) = MetaType::from_number(number) else {
            return Err(Stop::bad(format!(
                "the metadata key `{key}` has the unknown type {number}"
            )));
        };
        let value = value(cursor, key, meta_type, &mut budget, MAX_DEPTH)?;
        metadata.push((key.to_owned(), value));
    }
    Ok(metadata)
}

fn name<'a>(cursor: &mut Cursor<'a>, what: &str) -> Result<&'a str, Stop> {
    let length = cursor.u64()?;
    if length > MAX_NAME {
        return Err(Stop::bad(format!(
            "a {what} claims {length} bytes, the limit is {MAX_NAME}"
        )));
    }
    cursor.text(length, what)
}

fn value(
    cursor: &mut Cursor<'_>,
    key: &str,
    meta_type: MetaType,
    budget: &mut u64,
    depth: usize,
) -> Result<MetaValue, Stop> {
    Ok(match meta_type {
        MetaType::U8 => MetaValue::U8(cursor.u8()?),
        MetaType::I8 => MetaValue::I8(i8::from_le_bytes(cursor.array()?)),
        MetaType::U16 => MetaValue::U16(cursor.u16()?),
        MetaType::I16 => MetaValue::I16(i16::from_le_bytes(cursor.array()?)),
        MetaType::U32 => MetaValue::U32(cursor.u32()?),
        MetaType::I32 => MetaValue::I32(i32::from_le_bytes(cursor.array()?)),
        MetaType::F32 => MetaValue::F32(f32::from_le_bytes(cursor.array()?)),
        MetaType::U64 => MetaValue::U64(cursor.u64()?),
        MetaType::I64 => MetaValue::I64(i64::from_le_bytes(cursor.array()?)),
        MetaType::F64 => MetaValue::F64(f64::from_le_bytes(cursor.array()?)),
        MetaType::Bool => match cursor.u8()? {
            flag @ 0..=1 => MetaValue::Bool(flag == 1),
            other => {
                let reason = format!("the metadata key `{key}` has {other} for a boolean");
                return Err(Stop::bad(reason));
            }
        },
        MetaType::String => {
            let length = cursor.u64()?;
            MetaValue::String(cursor.text(length, "metadata value")?.to_owned())
        }
        MetaType::Array => {
            let number = cursor.u32()?;
            let count = cursor.u64()?;
            let bad = |what: String| Stop::bad(format!("the metadata key `{key}` {what}"));
            let element = MetaType::from_number(number)
                .ok_or_else(|| bad(format!("is an array of the unknown type {number}")))?;
            let depth = depth
                .checked_sub(1)
                .ok_or_else(|| bad("nests arrays too deeply".to_owned()))?;
            // Every value takes a byte at least.
            if count > *budget || count > cursor.remaining() {
                let what = format!("claims {count} values, more than the file can hold");
                return Err(bad(what));
            }
            *budget -= count;
            let mut values = Vec::new();
            for _ in 0..count {
                values.push(value(cursor, key, element, budget, depth)?);
            }
            MetaValue::Array(element, values)
        }
    })
}

fn entry(cursor: &mut Cursor<'_>) -> Result<Entry, Stop> {
    let name = name(cursor, "tensor name")?;
    let bad = |what: String| Stop::bad(format!("tensor `{name}` {what}"));
    let dims = cursor.u32()? as usize;
    if dims > MAX_DIMS {
        return Err(bad(format!("has {dims} axes, GGUF allows {MAX_DIMS}")));
    }
    let mut shape = Vec::with_capacity(dims);
    for _ in 0..dims {
        let size = cursor.u64()?;
        let size = usize::try_from(size).map_err(|_| bad(format!("has an axis of {size}")))?;
        shape.push(size);
    }
    shape.reverse(); // GGUF counts from the fastest axis
    let number = cursor.u32()?;
    let offset = cursor.u64()?;
    let known = GGML_TYPES.iter().find(|(known, _)| *known == number);
    element_count(&shape).ok_or_else(|| bad(format!("of shape {shape:?} overflows")))?;
    let stored = known.map(|&(_, stored)| stored).ok_or_else(|| {
        let other = OTHER_TYPES.iter().find(|(known, _)| *known == number);
        other.map_or_else(
            || format!("ggml's type {number}"),
            |(_, name)| (*name).to_owned(),
        )
    });
    let length = match &stored {
        Ok(stored) => stored.byte_len(&shape).ok_or_else(|| {
            let what = format!("of shape {shape:?} does not divide into blocks of {stored}");
            bad(what)
        })?,
        Err(_) => 0,
    };
    Ok(Entry {
        name: name.to_owned(),
        stored,
        shape,
        offset,
        length,
    })
}

/// The tensors that are read, and the types of the others.
type Placed = (BTreeMap<String, TensorInfo>, BTreeMap<String, String>);

/// Checks every tensor against its neighbours and the file; `start` is where the values begin.
fn place(
    mut entries: Vec<Entry>,
    alignment: u64,
    start: u64,
    file_len: u64,
) -> Result<Placed, String> {
    entries.sort_by_key(|entry| (entry.offset, entry.length));
    let (mut tensors, mut unread) = (BTreeMap::new(), BTreeMap::new());
    let mut previous_end = 0;
    for entry in entries {
        let name = entry.name;
        if entry.offset % alignment != 0 {
            return Err(format!(
                "tensor `{name}` begins at {}, which is not a multiple of the alignment {alignment}",
                entry.offset
            ));
        }
        if entry.offset < previous_end {
            return Err(format!("tensor `{name}` overlaps the tensor before it"));
        }
        let end = entry.offset.checked_add(entry.length);
        let in_file = end.and_then(|end| end.checked_add(start));
        let (Some(end), true) = (end, in_file.is_some_and(|end| end <= file_len)) else {
            return Err(format!(
                "tensor `{name}` ends beyond the end of the file; the file is truncated or damaged"
            ));
        };
        previous_end = end;
        if tensors.contains_key(&name) || unread.contains_key(&name) {
            return Err(format!("tensor `{name}` is there twice"));
        }
        match entry.stored {
            Ok(stored) => {
                let info = TensorInfo {
                    stored,
                    shape: entry.shape,
                    offset: start + entry.offset,
                    strides: None,
                };
                tensors.insert(name, info);
            }
            Err(other) => {
                unread.insert(name, other);
            }
        }
    }
    Ok((tensors, unread))
}
