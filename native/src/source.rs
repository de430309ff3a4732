//! Where a model's files come from: a folder on disk, mapped, or the model inside the binary.
//!
//! Neither copies: the weights of a 24 GB model are read from the page cache, those of the embedded
//! model from the executable itself. Only `convert` reads a folder [unmapped](Access::Read), since
//! mapped pages count as a process's memory. Left out: downloading.

mod unmapped;

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, MemorySource, WeightSource};
use x2i_core::{Error, Result};

use unmapped::UnmappedFile;

/// The name of the model in the binary.
pub const EMBEDDED_NAME: &str = "emoji";

/// The files of the model in the binary; empty when it was built without.
static EMBEDDED_FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded_files.rs"));

/// A model: the one in the binary, or a folder.
pub enum Model {
    /// The model in the binary.
    Embedded(EmbeddedSource),
    /// A folder.
    Folder(FolderSource),
}

impl Model {
    /// Finds what `--model` names: the embedded model's name, or a folder. Nothing takes the
    /// embedded model.
    ///
    /// # Errors
    /// [`Error::Config`] when it is neither, naming what there is.
    pub fn find(model: Option<&str>) -> Result<Self> {
        let wanted = model.unwrap_or(EMBEDDED_NAME);
        if wanted == EMBEDDED_NAME {
            return match EmbeddedSource::new() {
                Some(source) => Ok(Self::Embedded(source)),
                None => Err(Error::config(
                    "--model",
                    format!("{}; {ADVICE}", built_in()),
                )),
            };
        }
        if Path::new(wanted).exists() {
            return FolderSource::open(wanted).map(Self::Folder);
        }
        Err(Error::config(
            "--model",
            format!(
                "there is no folder {wanted}, nor a built-in model of that name ({})",
                built_in()
            ),
        ))
    }

    /// What a picture's metadata calls the place: the embedded model's name, or the folder's path.
    pub fn place(&self) -> String {
        match self {
            Self::Embedded(_) => EMBEDDED_NAME.to_owned(),
            Self::Folder(folder) => folder.root().display().to_string(),
        }
    }
}

const ADVICE: &str =
    "give a model folder with --model DIR, or build x2i where core/models/emoji holds the model";

fn built_in() -> String {
    if EMBEDDED_FILES.is_empty() {
        "this x2i has no built-in model".into()
    } else {
        format!("built in: {EMBEDDED_NAME}")
    }
}

impl ModelSource for Model {
    fn name(&self) -> &str {
        match self {
            Self::Embedded(source) => source.name(),
            Self::Folder(source) => source.name(),
        }
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        match self {
            Self::Embedded(source) => source.open(path),
            Self::Folder(source) => source.open(path),
        }
    }

    fn list<'a>(&'a self, folder: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>>> {
        match self {
            Self::Embedded(source) => source.list(folder),
            Self::Folder(source) => source.list(folder),
        }
    }
}

/// The model inside the binary.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedSource(());

impl EmbeddedSource {
    /// The model, where the binary has one.
    pub fn new() -> Option<Self> {
        (!EMBEDDED_FILES.is_empty()).then_some(Self(()))
    }

    /// The names of its files.
    pub fn files(&self) -> impl Iterator<Item = &'static str> {
        EMBEDDED_FILES.iter().map(|(name, _)| *name)
    }
}

impl ModelSource for EmbeddedSource {
    fn name(&self) -> &str {
        EMBEDDED_NAME
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        let found = EMBEDDED_FILES.iter().find(|(name, _)| *name == path);
        let opened = match found {
            Some((name, bytes)) => {
                Ok(Arc::new(MemorySource::new(*name, *bytes)) as Arc<dyn WeightSource>)
            }
            None => Err(Error::MissingFile {
                file: format!("{EMBEDDED_NAME} (built in)/{path}"),
            }),
        };
        Box::pin(std::future::ready(opened))
    }
}

/// A folder on disk. Paths inside it may climb out with `..` or be absolute, as `x2i.json` allows.
#[derive(Debug, Clone)]
pub struct FolderSource {
    name: String,
    root: PathBuf,
    access: Access,
}

/// How the files of a folder are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Mapped into memory: nothing is copied, and what was read stays part of the process.
    Map,
    /// Range by range into buffers of their own, which are freed after use.
    Read,
}

impl FolderSource {
    /// A folder, which must be there.
    ///
    /// # Errors
    /// [`Error::MissingFile`] when it is not, [`Error::Config`] when it is a file.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let shown = root.display().to_string();
        let full = root
            .canonicalize()
            .map_err(|error| io_error(&shown, error))?;
        if !full.is_dir() {
            return Err(Error::config(shown, "is a file; a model is a folder"));
        }
        let name = full
            .file_name()
            .map_or(shown, |name| name.to_string_lossy().into_owned());
        let access = Access::Map;
        Ok(Self { name, root, access })
    }

    /// The same folder, read otherwise.
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// The folder's path as it was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path on disk of a file of the folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
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

/// The names of the files in a folder, sorted; none when there is no such folder.
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
        // A name that is no UTF-8 is none that a model folder could ask for.
        if entry.path().is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A file mapped into memory, read only.
pub struct MappedFile {
    name: String,
    /// Shared with the weights that are used where they lie; `None` for an empty file, which can't
    /// be mapped everywhere.
    map: Option<Arc<Mmap>>,
}

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// [`Error::MissingFile`] or [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let (name, file, len) = open_regular(path)?;
        let map = if len == 0 {
            None
        } else {
            // SAFETY: the map is read only. Another program that cuts the file short while we run
            // would end us with SIGBUS, as it would any program that maps its weights.
            let map = unsafe { Mmap::map(&file) }.map_err(|error| io_error(&name, error))?;
            Some(Arc::new(map))
        };
        Ok(Self { name, map })
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().map_or(&[], |map| map)
    }
}

impl WeightSource for MappedFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let bounds = usize::try_from(range.start)
            .ok()
            .zip(usize::try_from(range.end).ok());
        let found = bounds
            .and_then(|(start, end)| self.bytes().get(start..end))
            .map(Cow::Borrowed);
        let len = self.len();
        Box::pin(std::future::ready(found.ok_or_else(|| {
            Error::format(
                &self.name,
                format!(
                    "bytes {}..{} lie outside of the file's {len}",
                    range.start, range.end
                ),
            )
        })))
    }

    fn share(&self, range: Range<u64>) -> Option<Bytes> {
        let map = self.map.clone()?;
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        let range = start.ok()?..end.ok()?;
        map.get(range.clone())?;
        Some(Bytes::from_owner(Lent { map, range }))
    }

    fn release(&self, range: Range<u64>) {
        if let (Some(map), Ok(start), Ok(end)) =
            (&self.map, range.start.try_into(), range.end.try_into())
        {
            give_back(map, start..end);
        }
    }
}

/// A part of a map in use; its pages go back to the system when the last user lets go of it.
struct Lent {
    map: Arc<Mmap>,
    /// Inside the map.
    range: Range<usize>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        give_back(&self.map, self.range.clone());
    }
}

/// Lets the system have the pages of a part of the map, which no longer count as ours.
fn give_back(map: &Mmap, range: Range<usize>) {
    #[cfg(unix)]
    if range.start < range.end && range.end <= map.len() {
        let (start, length) = (range.start, range.end - range.start);
        // SAFETY: the map is of a file and read only, so that pages which are looked at again come
        // back from it unchanged. A system that refuses keeps them: nothing is lost.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, length) };
    }
    #[cfg(not(unix))]
    let _ = (map, range);
}

/// Opens a file that is neither a folder nor a device: its name, itself and its length.
fn open_regular(path: &Path) -> Result<(String, File, u64)> {
    let name = path.display().to_string();
    let metadata = path.metadata().map_err(|error| io_error(&name, error))?;
    if !metadata.is_file() {
        return Err(Error::format(name, "is not a regular file"));
    }
    let file = File::open(path).map_err(|error| io_error(&name, error))?;
    Ok((name, file, metadata.len()))
}

/// [`Error::MissingFile`] where a file is not there, [`Error::Io`] otherwise.
pub fn io_error(file: &str, source: std::io::Error) -> Error {
    match source.kind() {
        std::io::ErrorKind::NotFound => Error::MissingFile {
            file: file.to_owned(),
        },
        // A file where a folder is expected.
        std::io::ErrorKind::NotADirectory => Error::MissingFile {
            file: file.to_owned(),
        },
        _ => Error::Io {
            file: file.to_owned(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &dyn ModelSource, file: &str) -> Result<Vec<u8>> {
        pollster::block_on(x2i_core::model::read(source, file))
    }

    #[test]
    fn a_folder_gives_its_files_and_those_above_it() -> anyhow::Result<()> {
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
    fn what_is_missing_is_named() -> anyhow::Result<()> {
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

    #[test]
    fn a_model_that_is_nowhere_is_an_error_that_names_what_there_is() {
        let message = Model::find(Some("no-such-model"))
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            message.starts_with("--model: there is no folder no-such-model"),
            "{message}"
        );
    }
}
