//! The container of `torch.save` before PyTorch 1.6.
//!
//! Five pickles follow each other (a magic number, the protocol's version, the writer's system,
//! the saved object, the keys of its storages), then each storage as a 64-bit number of elements
//! and their bytes.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::weights::cursor::{Cursor, Stop, parse_prefix};
use crate::weights::header::Header;
use crate::weights::{WeightSource, read_range};

use super::flatten::{Flat, flatten};
use super::machine;
use super::values::{Arena, Value};

/// The first pickle: protocol 2, the 80-bit number 0x1950a86a20f9469cfc6c, stop.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The longest run of pickles before the storages.
const MAX_PICKLES: u64 = 16 << 20;

/// True when the file begins as such a container.
pub(in crate::weights) fn is_legacy(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

struct Parsed {
    arena: Arena,
    flat: Flat,
    /// Places in the arena of the storages, in file order.
    order: Vec<usize>,
    end: u64,
}

/// Parses and checks the pickles, then finds each storage.
pub(in crate::weights) async fn read_header(source: &dyn WeightSource) -> Result<Header> {
    let parsed = parse_prefix(source, MAX_PICKLES, parse).await?;
    let bad = |reason: String| Error::format(source.name(), reason);
    let mut starts = vec![0; parsed.arena.storages.len()];
    let mut at = parsed.end;
    for storage in parsed.order {
        let start = &mut starts[storage];
        let storage = &parsed.arena.storages[storage];
        let truncated = || bad(format!("truncated: storage {} is cut off", storage.key));
        let begin = at
            .checked_add(8)
            .filter(|&begin| begin <= source.len())
            .ok_or_else(truncated)?;
        let count = read_range(source, at..begin).await?;
        let count = u64::from_le_bytes(std::array::from_fn(|i| count[i]));
        if count != storage.elements {
            return Err(bad(format!(
                "storage {} has {count} elements, its tensors say {}",
                storage.key, storage.elements
            )));
        }
        let end = count
            .checked_mul(storage.stored.block_bytes() as u64)
            .and_then(|length| length.checked_add(begin))
            .filter(|&end| end <= source.len())
            .ok_or_else(truncated)?;
        *start = begin;
        at = end;
    }
    Ok(parsed.flat.into_header(&parsed.arena, &starts))
}

fn parse(mut cursor: Cursor<'_>) -> Result<Parsed, Stop> {
    cursor.take(MAGIC.len() as u64)?;
    let version = machine::load(&mut cursor)?;
    if version.root != Value::Int(1001) {
        return Err(Stop::bad(
            "this version of PyTorch's old format can't be read",
        ));
    }
    let system = machine::load(&mut cursor)?;
    let mut facts = system.arena.dict(system.root).unwrap_or_default().iter();
    let little_endian = (Some("little_endian"), Value::Bool(true));
    if !facts.any(|(key, value)| (system.arena.text(*key), *value) == little_endian) {
        return Err(Stop::bad("the file was written on a big-endian machine"));
    }
    let start = cursor.position();
    let object = machine::load(&mut cursor)?;
    let flat = flatten(&object, cursor.position() - start).map_err(Stop::bad)?;
    let keys = machine::load(&mut cursor)?;
    let known = object.arena.storages.iter().enumerate();
    let mut known: HashMap<&str, usize> = known.map(|(i, s)| (s.key.as_str(), i)).collect();
    let mut order = Vec::with_capacity(known.len());
    for &key in keys.arena.sequence(keys.root).unwrap_or_default() {
        let key = keys.arena.text(key).unwrap_or("?");
        let storage = known.remove(key).ok_or_else(|| {
            Stop::bad(format!(
                "storage {key} is there twice, or belongs to nothing"
            ))
        })?;
        order.push(storage);
    }
    if let Some(key) = known.keys().min() {
        return Err(Stop::bad(format!("storage {key} is missing")));
    }
    Ok(Parsed {
        arena: object.arena,
        flat,
        order,
        end: cursor.position(),
    })
}
