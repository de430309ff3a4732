//! The checksums of an archive: a damaged download of a pickle is told by them.
//!
//! `torch.save` may be asked to keep none (`set_crc32_options`); then none fits, and nothing is said.

use crate::error::Result;
use crate::weights::{WeightSource, read_range};

use super::zip::{self, Entry};

/// Bytes that are read together.
const PART: u64 = 4 << 20;

/// The path of an entry whose bytes are not those that were written. Reads the whole archive.
///
/// # Errors
/// [`crate::Error::Format`] for an archive whose directory can't be read, and what reading gives.
pub(in crate::weights) async fn broken_entry(source: &dyn WeightSource) -> Result<Option<String>> {
    let archive = zip::open(source).await?;
    let entries = archive.entries.iter();
    // Nothing has the checksum zero, kept or not.
    let mut entries: Vec<(&String, &Entry)> =
        entries.filter(|(_, entry)| entry.length > 0).collect();
    entries.sort_by_key(|(_, entry)| entry.local_header);
    let mut broken = vec![];
    for &(path, &entry) in &entries {
        let range = archive.locate(source, path, entry).await?;
        let mut hasher = crc32fast::Hasher::new();
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + PART);
            hasher.update(&read_range(source, start..end).await?);
            start = end;
        }
        if hasher.finalize() != entry.checksum {
            broken.push(path);
        }
    }
    let kept = broken.len() < entries.len();
    Ok(broken.first().filter(|_| kept).map(|path| path.to_string()))
}
