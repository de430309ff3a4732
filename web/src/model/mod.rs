//! The files of a model in a browser: from the network by ranges, from the cache, or in memory.
//!
//! [`WebModel::prepare`] downloads every file that `model.json` records into the cache and checks its
//! SHA-256. Tensors are then read by ranges, one by one, on their way to the device. Without a cache,
//! files are held in memory; files that are too large for that are read from the network by ranges.
//! [`WebModel::heal`] hashes cached files again when a load or a picture fails.

mod blob;
mod cache_storage;
mod download;
mod fetching;
mod file;
mod hash;
mod http;
mod location;
mod locks;
mod memory;
mod opfs;
mod room;
mod shelf;
mod source;
mod store;

pub use blob::BlobFile;
pub use location::Location;
pub use room::Quota;
pub use shelf::{cached_models, delete_cached_model};
pub use source::{CachePolicy, Place, WebModel};
