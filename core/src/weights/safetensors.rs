//! The safetensors header: an 8-byte length, JSON, then the values.
//!
//! Source: the format section of the safetensors README. As there, entries must cover the data
//! completely, without holes or overlaps, and the header is at most 100 MB. A tensor of a dtype that
//! nothing here computes with (`F4`, `F8_E8M0`, `C64`) is refused when it is asked for, since it may
//! belong to another part. `write` makes such files.

mod write;

pub use write::{OutTensor, encode, header, sort};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::{Error, Result};

use super::gguf::MetaValue;
use super::header::Header;
use super::stored::{StoredType, TensorInfo, element_count};
use super::{WeightSource, read_range};

/// The reference implementation's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// One tensor as the JSON has it.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The JSON object in order, duplicates kept, so that they can be refused.
#[derive(Default)]
struct Json {
    entries: Vec<(String, Entry)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;
        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut json = Json::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "__metadata__" {
                        json.metadata = map.next_value()?;
                    } else {
                        json.entries.push((key, map.next_value()?));
                    }
                }
                Ok(json)
            }
        }
        deserializer.deserialize_map(JsonVisitor)
    }
}

/// Parses and checks the header.
pub(super) async fn read_header(source: &dyn WeightSource) -> Result<Header> {
    let file = source.name();
    let bad = |reason: String| Err(Error::format(file, reason));
    if source.len() < 8 {
        return bad("truncated: shorter than a safetensors header".to_owned());
    }
    let prefix = read_range(source, 0..8).await?;
    let length = u64::from_le_bytes(std::array::from_fn(|i| prefix[i]));
    if length > MAX_HEADER {
        return bad(format!(
            "the header's length is {length} bytes, the limit is {MAX_HEADER}"
        ));
    }
    let start = 8 + length;
    if start > source.len() {
        return bad(format!(
            "truncated: the header should end at byte {start}, the file ends at {}",
            source.len()
        ));
    }
    let text = read_range(source, 8..start).await?;
    let json: Json = match serde_json::from_slice(&text) {
        Ok(json) => json,
        Err(error) => return bad(format!("the header is not valid: {error}")),
    };
    let metadata = json.metadata.into_iter();
    let (tensors, unread) = place(file, json.entries, start, source.len())?;
    Ok(Header {
        tensors,
        unread,
        metadata: metadata
            .map(|(key, value)| (key, MetaValue::String(value)))
            .collect(),
        config: None,
        notes: BTreeMap::new(),
    })
}

/// The tensors that are read, and the dtypes of the others.
type Placed = (BTreeMap<String, TensorInfo>, BTreeMap<String, String>);

/// Checks every entry against its neighbours and the file; `start` is where the values begin.
fn place(
    file: &str,
    mut entries: Vec<(String, Entry)>,
    start: u64,
    file_len: u64,
) -> Result<Placed> {
    let bad = |reason: String| Error::format(file, reason);
    let data_len = file_len - start;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let (mut tensors, mut unread) = (BTreeMap::new(), BTreeMap::new());
    let mut previous_end = 0;
    for (name, entry) in entries {
        check_extent(&name, entry.data_offsets, previous_end, data_len).map_err(bad)?;
        previous_end = entry.data_offsets.1;
        if tensors.contains_key(&name) || unread.contains_key(&name) {
            return Err(bad(format!("tensor `{name}` is there twice")));
        }
        match stored_type(&entry.dtype) {
            Some(stored) => {
                let info = tensor_info(&name, &entry, stored, start).map_err(bad)?;
                tensors.insert(name, info);
            }
            None => {
                unread.insert(name, entry.dtype);
            }
        }
    }
    if previous_end != data_len {
        return Err(bad(format!(
            "{} bytes after the last tensor belong to nothing",
            data_len - previous_end
        )));
    }
    Ok((tensors, unread))
}

/// Tensors follow each other without a hole, inside the file.
fn check_extent(
    name: &str,
    (begin, end): (u64, u64),
    previous_end: u64,
    data_len: u64,
) -> Result<(), String> {
    if end < begin {
        return Err(format!("tensor `{name}` ends before it begins"));
    }
    if end > data_len {
        return Err(format!(
            "tensor `{name}` ends at byte {end} of the data, which has {data_len} bytes; the file \
             is truncated or damaged"
        ));
    }
    if begin < previous_end {
        return Err(format!("tensor `{name}` overlaps the tensor before it"));
    }
    if begin > previous_end {
        return Err(format!(
            "tensor `{name}` leaves a hole after the tensor before it"
        ));
    }
    Ok(())
}

/// A shape of as many bytes as there are.
fn tensor_info(
    name: &str,
    entry: &Entry,
    stored: StoredType,
    start: u64,
) -> Result<TensorInfo, String> {
    let (begin, end) = entry.data_offsets;
    let shape = entry.shape.iter().map(|&size| usize::try_from(size));
    let shape = shape.collect::<Result<Vec<_>, _>>().ok();
    let shape = shape
        .filter(|shape| element_count(shape).is_some())
        .ok_or_else(|| format!("the shape of tensor `{name}` overflows"))?;
    if stored.byte_len(&shape) != Some(end - begin) {
        return Err(format!(
            "tensor `{name}` has {} bytes, its shape {shape:?} of {stored} needs another number",
            end - begin
        ));
    }
    Ok(TensorInfo {
        stored,
        shape,
        offset: start + begin,
        strides: None,
    })
}

fn stored_type(dtype: &str) -> Option<StoredType> {
    Some(match dtype {
        "F64" => StoredType::F64,
        "F32" => StoredType::F32,
        "F16" => StoredType::F16,
        "BF16" => StoredType::BF16,
        "F8_E4M3" => StoredType::F8E4M3,
        "F8_E5M2" => StoredType::F8E5M2,
        "I64" => StoredType::I64,
        "I32" => StoredType::I32,
        "I16" => StoredType::I16,
        "I8" => StoredType::I8,
        "U64" => StoredType::U64,
        "U32" => StoredType::U32,
        "U16" => StoredType::U16,
        "U8" => StoredType::U8,
        "BOOL" => StoredType::Bool,
        _ => return None,
    })
}

/// The files that a sharded checkpoint's `*.safetensors.index.json` (or `*.bin.index.json`) names,
/// sorted, each once. They are beside the index or in folders below it: an index must not reach
/// outside its folder. `file` is the index, for messages.
///
/// # Errors
/// [`Error::Format`] when it is not such an index.
pub fn shard_names(file: &str, json: &[u8]) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(json)
        .map_err(|error| Error::format(file, format!("not an index of shards: {error}")))?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    if names.is_empty() {
        return Err(Error::format(file, "the index names no files"));
    }
    let escapes = |name: &&String| {
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        name.contains(['\\', ':', '\0']) || !name.split('/').all(plain)
    };
    if let Some(name) = names.iter().find(escapes) {
        let reason = format!("the shard {name:?} is not a path below the index's folder");
        return Err(Error::format(file, reason));
    }
    Ok(names.into_iter().collect())
}
