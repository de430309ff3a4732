//! GGUF files that llama.cpp's `gguf-split` cut into parts.
//!
//! Each part has its number (`split.no`, from 0), how many there are (`split.count`) and how many
//! tensors all have together (`split.tensors.count`). The first part alone has the model's metadata.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

use super::file::{FileFormat, WeightFile};
use super::gguf::MetaValue;

/// Checks that the GGUF files of one part of a model are whole: every part of a split one is there
/// once.
///
/// # Errors
/// [`Error::Format`] naming the part that is missing, or the file that belongs to another set.
pub fn check_split(files: &[WeightFile]) -> Result<()> {
    let files = files
        .iter()
        .filter(|file| file.format() == FileFormat::Gguf);
    let number = |file: &WeightFile, key| file.metadata_value(key).and_then(MetaValue::as_u64);
    let split = |file: &&WeightFile| number(file, "split.count").is_some_and(|count| count > 1);
    let parts: Vec<&WeightFile> = files.filter(split).collect();
    let Some(first) = parts.first() else {
        return Ok(());
    };
    let facts = ["split.count", "split.tensors.count"];
    let [count, tensors] = facts.map(|key| number(first, key));
    let mut seen = BTreeSet::new();
    for part in &parts {
        if facts.map(|key| number(part, key)) != [count, tensors] {
            let reason = format!("is a part of another model than {}", first.name());
            return Err(Error::format(part.name(), reason));
        }
        let at = number(part, "split.no").unwrap_or(0);
        if !seen.insert(at) || Some(at) >= count {
            let reason = format!(
                "says that it is part {} of {}, which is wrong or there twice",
                at.saturating_add(1),
                count.unwrap_or(0)
            );
            return Err(Error::format(part.name(), reason));
        }
    }
    let count = count.unwrap_or(0);
    if let Some(missing) = (0..count).find(|at| !seen.contains(at)) {
        let reason = format!(
            "is split into {count} parts, and part {} is not there; put all parts beside each other, \
             named NAME-00001-of-{count:05}.gguf and so on",
            missing + 1
        );
        return Err(Error::format(first.name(), reason));
    }
    let found: usize = parts
        .iter()
        .map(|part| part.tensors().len() + part.unread().len())
        .sum();
    match tensors {
        Some(tensors) if tensors != found as u64 => {
            let reason =
                format!("its parts should have {tensors} tensors together, they have {found}");
            Err(Error::format(first.name(), reason))
        }
        _ => Ok(()),
    }
}
