//! A model's files in a browser: from the network by ranges, from the cache, or in memory.
//!
//! [`WebModel::prepare`] brings every file that `model.json` records into the cache, checks its
//! SHA-256, and then serves ranges of it; a tensor crosses wasm memory once, on its way to the device.
//! Where nothing can be cached, files are held in memory, and what is too large for that is read
//! from the network range by range.

mod blob;
mod cache_storage;
mod download;
mod file;
mod http;
mod location;
mod opfs;
mod source;
mod store;

pub use blob::BlobFile;
pub use location::Location;
pub use source::{CachePolicy, WebModel};
pub use store::{cached_models, delete_cached_model};
