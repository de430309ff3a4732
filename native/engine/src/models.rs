//! The files of a model, and a model that is ready to be loaded.
//!
//! Reading copies nothing: the weights of a 24 GB model come from the page cache, those of the
//! embedded model from the executable. Only `convert` and hashing read a folder
//! [unmapped](Access::Read), since mapped pages count as the process's memory. [`hub`] downloads models.

mod advice;
mod check;
mod cut;
mod embedded;
mod files;
mod folder;
mod hashes;
pub mod hub;
mod mapped;
mod meter;
mod model;
mod numbers;
mod unmapped;

pub use check::{check, check_files};
pub(crate) use cut::check_uncut;
pub use embedded::{EMBEDDED_NAME, EmbeddedSource};
pub use files::ModelFiles;
pub use folder::{Access, FolderSource};
pub use hashes::{Hashes, ModelHashes, Verify};
pub use mapped::MappedFile;
pub use meter::{Checked, OnChecked, ignore_checked};
pub use model::Model;
