//! Sets of golden folders on this machine's disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result};
use x2i_engine::models::FolderSource;

/// The tokenizer that other sets may leave out: it is 10 MB and always the same.
const SHARED_TOKENIZER: &str = "_tokenizer_qwen2_5";

/// The repository's own set.
pub fn own_goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// The set beside the repository.
fn beside() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/goldens")
}

/// A set of golden folders on disk, and another that lends it what it lacks.
pub struct GoldenFolder {
    set: FolderSource,
    lender: Option<FolderSource>,
    /// The folders that are taken from the lender.
    lent: Vec<String>,
}

impl GoldenFolder {
    /// A chosen set, and the paths of all its files.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn chosen(root: &Path) -> Result<(Self, Vec<String>)> {
        let opened = Self {
            set: FolderSource::open(root)?,
            // On another machine there is no repository.
            lender: match own_goldens().is_dir() {
                true => Some(FolderSource::open(own_goldens())?),
                false => None,
            },
            lent: vec![SHARED_TOKENIZER.into()],
        };
        Ok((opened, files_below(root)))
    }

    /// The repository's set and what it lacks of the one beside it, and the paths of all files.
    ///
    /// # Errors
    /// When one of them is no folder.
    pub fn own() -> Result<(Self, Vec<String>)> {
        let mut paths = files_below(&own_goldens());
        let own: Vec<String> = paths.iter().map(|path| folder(path).to_owned()).collect();
        let mut other = files_below(&beside());
        other.retain(|path| !own.iter().any(|own| own == folder(path)));
        let mut lent: Vec<String> = other.iter().map(|path| folder(path).to_owned()).collect();
        lent.sort_unstable();
        lent.dedup();
        let opened = Self {
            set: FolderSource::open(own_goldens())?,
            lender: match other.is_empty() {
                true => None,
                false => Some(FolderSource::open(beside())?),
            },
            lent,
        };
        paths.extend(other);
        Ok((opened, paths))
    }
}

/// The first folder of a path.
fn folder(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

impl ModelSource for GoldenFolder {
    fn name(&self) -> &str {
        self.set.name()
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        Box::pin(async move {
            let lent = self.lent.iter().any(|lent| lent == folder(path));
            match (self.set.open(path).await, &self.lender) {
                (Err(Error::MissingFile { .. }), Some(lender)) if lent => lender.open(path).await,
                (opened, _) => opened,
            }
        })
    }
}

/// Paths from `root`, with `/` between parts.
fn files_below(root: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(inside) = path.strip_prefix(root) {
                let parts = inside.iter().map(|part| part.to_string_lossy());
                found.push(parts.collect::<Vec<_>>().join("/"));
            }
        }
    }
    found
}
