//! The engine of every native surface of x2i.

pub mod allocator;
pub mod device;
pub mod host;
pub mod media;
pub mod models;
pub mod output;
