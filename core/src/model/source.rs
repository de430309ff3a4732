//! Where a model's files come from, and reading one whole.
//!
//! Left out: sources themselves, which know disks, networks and caches (`native`, `web`).

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::config::parse;
use crate::error::{Error, Result};
use crate::weights::{LocalBoxFuture, WeightSource, read_range};

/// Named files: a folder on disk, a web address, or the model in the binary.
pub trait ModelSource: Send + Sync {
    /// What messages call it.
    fn name(&self) -> &str;
    /// Opens a file by its path inside the folder (`/` between parts; `..` where the source allows it).
    ///
    /// # Errors
    /// [`Error::MissingFile`] when there is none, [`Error::Io`] when it can't be read.
    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>>;
    /// The names of the files in a folder of it, sorted; none where the source can't tell.
    ///
    /// # Errors
    /// [`Error::Io`] when it can't be read.
    fn list<'a>(&'a self, folder: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>>> {
        let _ = folder;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// The folder of a path.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The largest file that is read whole, in bytes: configs, tokenizers, templates, indexes.
const MOST_BYTES: u64 = 256 << 20;

/// All bytes of a file that is no weight file.
///
/// # Errors
/// [`Error::MissingFile`] or [`Error::Io`]; [`Error::Format`] for one that is too large.
pub async fn read(source: &dyn ModelSource, file: &str) -> Result<Vec<u8>> {
    let opened = source.open(file).await?;
    if opened.len() > MOST_BYTES {
        let reason = format!(
            "has {} bytes; a file of a model that is no weight file has at most {MOST_BYTES}",
            opened.len()
        );
        return Err(Error::format(opened.name(), reason));
    }
    let bytes = read_range(&*opened, 0..opened.len()).await?;
    Ok(bytes.into_owned())
}

pub(super) async fn read_optional(source: &dyn ModelSource, file: &str) -> Result<Option<Vec<u8>>> {
    match read(source, file).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::MissingFile { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) async fn exists(source: &dyn ModelSource, file: &str) -> Result<bool> {
    match source.open(file).await {
        Ok(_) => Ok(true),
        Err(Error::MissingFile { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) async fn read_json<T: DeserializeOwned>(
    source: &dyn ModelSource,
    file: &str,
) -> Result<T> {
    parse(file, &read(source, file).await?)
}

pub(super) async fn read_json_or_default<T: DeserializeOwned + Default>(
    source: &dyn ModelSource,
    file: &str,
) -> Result<T> {
    match read_optional(source, file).await? {
        Some(json) => parse(file, &json),
        None => Ok(T::default()),
    }
}
