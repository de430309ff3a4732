//! A model folder on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result};

use super::mapped::MappedFile;
use super::unmapped::UnmappedFile;
use super::{advice, hub};
use crate::files::{io_error, recover, sweep};

/// A folder on disk. Names of files may contain `..`, be absolute paths, or begin with `~`, as `x2i.json`
/// allows. A repository of Hugging Face's cache stands for its snapshot.
#[derive(Debug, Clone)]
pub struct FolderSource {
    name: String,
    root: PathBuf,
    access: Access,
    /// A conversion into this folder had been killed, and was ended when it was opened.
    recovered: bool,
}

/// How the files of a folder are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Memory-mapped: nothing is copied, and pages that were read count as the process's memory.
    Map,
    /// Range by range into buffers, which are freed after use.
    Read,
}

impl FolderSource {
    /// Opens a folder. Ends a conversion into it that was killed, and removes what killed runs left.
    ///
    /// # Errors
    /// [`Error::MissingFile`] when it does not exist, [`Error::Config`] when it is a file, or a part of
    /// a model, [`Error::Io`] when a killed conversion can't be ended.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let given: PathBuf = root.into();
        let root = hub::snapshot(&given).unwrap_or_else(|| given.clone());
        match advice::lone_flux(&root) {
            Some(reason) => Err(Error::config(given.display().to_string(), reason)),
            None => Self::open_part(given),
        }
    }

    /// Opens a folder that holds a part of a model, such as FLUX with its text encoders.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for FLUX alone.
    pub fn open_part(root: impl Into<PathBuf>) -> Result<Self> {
        let given: PathBuf = root.into();
        let shown = given.display().to_string();
        let root = hub::snapshot(&given).unwrap_or(given);
        let full = root
            .canonicalize()
            .map_err(|error| io_error(&shown, error))?;
        if !full.is_dir() {
            return Err(Error::config(shown, advice::lone_file(&full)));
        }
        sweep(&full);
        let recovered = recover(&full).map_err(|error| unfinished(&shown, &error))?;
        // A snapshot's own name is a commit.
        let name = hub::repository_name(&full).filter(|_| is_snapshot(&full));
        let name = name.unwrap_or_else(|| {
            let name = full.file_name();
            name.map_or(shown, |name| name.to_string_lossy().into_owned())
        });
        let access = Access::Map;
        Ok(Self {
            name,
            root,
            access,
            recovered,
        })
    }

    /// A warning for the user when a killed conversion into this folder has been ended.
    pub fn warning(&self) -> Option<String> {
        self.recovered.then(|| {
            let root = self.root.display();
            format!(
                "{root}: a conversion was killed while it replaced the model; it is now complete"
            )
        })
    }

    /// The same folder with another way of reading.
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// The folder's path as it was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path on disk of a file of the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        hub::resolve(&self.root, file)
    }
}

impl ModelSource for FolderSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        let path = self.path(path);
        let opened: Result<Arc<dyn WeightSource>> = match self.access {
            Access::Map => MappedFile::open(&path).map(|file| Arc::new(file) as _),
            Access::Read => UnmappedFile::open(&path).map(|file| Arc::new(file) as _),
        };
        Box::pin(std::future::ready(opened))
    }

    fn list<'a>(&'a self, folder: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>>> {
        Box::pin(std::future::ready(file_names(&self.path(folder))))
    }
}

/// Whether it is the folder of a whole snapshot.
fn is_snapshot(folder: &Path) -> bool {
    let above = folder.parent().and_then(Path::file_name);
    above.is_some_and(|name| name == "snapshots")
}

fn unfinished(folder: &str, error: &std::io::Error) -> Error {
    let reason =
        format!("a conversion was killed while it replaced the model, and can't be ended: {error}");
    Error::Io {
        file: folder.to_owned(),
        source: std::io::Error::new(error.kind(), reason),
    }
}

/// The names of the files in a folder, sorted; empty when there is no such folder.
fn file_names(folder: &Path) -> Result<Vec<String>> {
    let shown = folder.display().to_string();
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) => {
            return match io_error(&shown, error) {
                Error::MissingFile { .. } => Ok(Vec::new()),
                error => Err(error),
            };
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| io_error(&shown, error))?;
        // Configs are UTF-8, so they can't name a file whose name is not.
        if entry.path().is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn read(source: &dyn ModelSource, file: &str) -> Result<Vec<u8>> {
        pollster::block_on(x2i_core::model::read(source, file))
    }

    #[test]
    fn a_folder_gives_its_files_and_those_above_it()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let outer = tempfile::tempdir()?;
        let inner = outer.path().join("model");
        std::fs::create_dir(&inner)?;
        std::fs::write(outer.path().join("shared.json"), "{}")?;
        std::fs::write(inner.join("model.json"), "[1]")?;
        std::fs::write(inner.join("empty.gguf"), "")?;
        for access in [Access::Map, Access::Read] {
            let source = FolderSource::open(&inner)?.with_access(access);
            assert_eq!(source.name(), "model");
            assert_eq!(read(&source, "model.json")?, b"[1]");
            assert_eq!(read(&source, "../shared.json")?, b"{}");
            assert_eq!(read(&source, "empty.gguf")?, b"");
            let file = pollster::block_on(source.open("model.json"))?;
            let part = |range| pollster::block_on(file.read(range)).map(Cow::into_owned);
            assert_eq!(part(1..2)?, b"1");
            for outside in [0..4, 4..4, 0..u64::MAX] {
                assert!(
                    matches!(part(outside), Err(Error::Format { .. })),
                    "{access:?}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_missing_is_named() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let source = FolderSource::open(folder.path())?;
        assert!(
            matches!(read(&source, "flux.gguf"), Err(Error::MissingFile { file }) if file.ends_with("flux.gguf"))
        );
        assert!(matches!(read(&source, "."), Err(Error::Format { .. })));
        assert!(matches!(
            FolderSource::open(folder.path().join("none")),
            Err(Error::MissingFile { .. })
        ));
        Ok(())
    }
}
