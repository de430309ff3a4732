//! The API of AUTOMATIC1111's web UI, as its clients call it (`/sdapi/v1`).
//!
//! Its clients send every setting of the web UI with every request, so that fields of features which X2I lacks are read
//! and ignored; `info` has a warning for each that would have changed the image.

mod body;
pub mod images;
mod info;
pub mod lists;
pub mod metadata;
pub mod options;
pub mod progress;
mod prompt;
mod schema;
mod tasks;

pub use tasks::Tasks;
