//! Data sets: WebDataset shards, folders of pictures with captions, JSONL files.
//!
//! Nothing of a data set is executed: members of unknown kinds are never looked at, no name of a data set
//! becomes a path that is written, and sizes are bounded by what a file really holds.

mod batches;
mod buckets;
mod captions;
mod curl;
mod dataset;
mod entry;
mod file;
mod folder;
mod header;
mod jsonl;
mod name;
mod order;
mod patterns;
mod problem;
mod random;
mod sample;
mod shard;
mod source;
mod tar;
mod text;

pub use batches::{Batches, View};
pub use buckets::{Buckets, Fitted};
pub use captions::CaptionRules;
pub use dataset::{DataSource, DataSpec, Dataset, Keys, OnFile};
pub use order::Order;
pub use problem::{Note, Problem};
pub use random::SplitMix64;
pub use sample::{Picture, Pictures, Sample, Task};
pub use source::source;
pub(crate) use text::first_words;
