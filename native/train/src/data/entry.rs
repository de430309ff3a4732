//! Where the parts of a sample are.

use std::path::PathBuf;
use std::sync::Arc;

/// The place of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In one of the data set's files.
    Range { file: u32, at: u64, size: u64 },
    /// A file of its own.
    Path(PathBuf),
    /// In memory: a caption that the user gave for a whole folder, or a text from a network.
    Memory(Arc<[u8]>),
}

/// The form of a data set, as far as names in it differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Shards,
    Folder,
    Jsonl,
}

/// A sample that is not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// The data set's source, which has keys of its own.
    pub(super) source: u32,
    /// An object with the caption and other fields.
    pub(super) json: Option<Place>,
    /// The caption alone.
    pub(super) txt: Option<Place>,
    /// The picture; of a pair the source.
    pub(super) picture: Option<Place>,
    /// The picture after the edit.
    pub(super) edited: Option<Place>,
    /// A picture that steers the painting of `picture`: LightControl's alone.
    pub(super) hint: Option<Place>,
    /// A picture that only painting takes, since it is not named as a source.
    pub(super) other: Option<Place>,
    pub(super) leads_out: bool,
}

impl Entry {
    pub(super) fn new(key: String, source: u32) -> Self {
        Self {
            key,
            source,
            json: None,
            txt: None,
            picture: None,
            edited: None,
            hint: None,
            other: None,
            leads_out: false,
        }
    }
}
