//! A file that a job names: its path, its name in the metadata, and the hash that it must have.

use std::path::{Path, PathBuf};

use x2i_core::png::UsedFile;
use x2i_core::{Error, Field, Result};

use super::hash::hash_file;
use super::recorded::{Place, Trust, find};
use super::url::{Held, resolve};

/// A file that a caller or an image's metadata names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    path: PathBuf,
    /// Its name in the metadata.
    label: String,
    recorded: Option<Recorded>,
    /// The file of a `data:` URL.
    held: Option<Held>,
}

/// The origin of a file that an image's metadata names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recorded {
    /// Its SHA-256, as lower-case hex.
    sha256: String,
    /// The image that holds the metadata.
    image: String,
    /// The file lies where an image that is not trusted may not reach.
    outside: bool,
}

impl NamedFile {
    /// A file by its path, which is also its name in the metadata.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            label: path.display().to_string(),
            path,
            recorded: None,
            held: None,
        }
    }

    /// A file by its path, with a name of its own in the metadata: one that a server has received.
    pub fn labelled(path: impl Into<PathBuf>, label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            ..Self::new(path)
        }
    }

    /// A file by its path or by a URL: `file://`, or `data:` with the file in it.
    ///
    /// # Errors
    /// [`Error::Format`] for a URL that can't be read, or that asks for a download; [`Error::Io`].
    pub fn given(name: impl AsRef<Path>) -> Result<Self> {
        let (path, held) = resolve(name.as_ref())?;
        let label = match held {
            Some(_) => name.as_ref().display().to_string(),
            None => path.display().to_string(),
        };
        Ok(Self {
            path,
            label,
            recorded: None,
            held,
        })
    }

    /// A file that the metadata of `image` names: at the recorded path, or else in `folder`. It must
    /// have the recorded hash, and lie where `trust` lets it.
    pub fn recorded(file: &str, sha256: &str, image: &str, folder: &Path, trust: Trust) -> Self {
        // A data URL holds its file; it leads nowhere.
        let data = resolve(Path::new(file)).ok();
        let data = data.filter(|(_, held)| held.is_some());
        let (path, held, outside) = match data {
            Some((path, held)) => (path, held, false),
            None => match find(file, folder, trust) {
                Place::Open(path) => (path, None, false),
                Place::Outside => (file.into(), None, true),
            },
        };
        Self {
            path,
            label: file.to_owned(),
            recorded: Some(Recorded {
                sha256: sha256.to_owned(),
                image: image.to_owned(),
                outside,
            }),
            held,
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name in the metadata.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// True for a file that an image's metadata names.
    pub(crate) fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// Attributes an error to the field that gave the file: to `field`, or to the metadata.
    pub(crate) fn error(&self, error: Error, field: Field) -> Error {
        let error = self.renamed(error);
        match &self.recorded {
            _ if matches!(error, Error::Cancelled) => error,
            None => error.at(field),
            Some(Recorded { image, .. }) => Error::request(
                Field::Record,
                format!("{image} was made with a file: {error}"),
            )
            .mended_by(field),
        }
    }

    /// The error with the file's own name in place of its path, where it has one.
    fn renamed(&self, error: Error) -> Error {
        let path = self.path.display().to_string();
        let own = |name: String| match name == path {
            true => self.label.clone(),
            false => name,
        };
        match error {
            _ if self.label == path || self.held.is_some() => error,
            Error::Image { name, reason } => Error::image(own(name), reason),
            Error::Video { name, reason } => Error::video(own(name), reason),
            Error::Audio { name, reason } => Error::audio(own(name), reason),
            Error::Format { file, reason } => Error::format(own(file), reason),
            Error::MissingFile { file } => Error::MissingFile { file: own(file) },
            Error::Io { file, source } => Error::Io {
                file: own(file),
                source,
            },
            Error::Remedy { source, field } => self.renamed(*source).mended_by(field),
            error => error,
        }
    }

    /// Checks a file of the metadata before it is read: its place, and its hash, which `hash` computes.
    /// Other files are the caller's own.
    ///
    /// # Errors
    /// [`Error::Request`] for the metadata, with `field` as a remedy; the file's own errors.
    pub(crate) fn check_first(
        &self,
        field: Field,
        hash: impl FnOnce(&Path) -> Result<String>,
    ) -> Result<()> {
        if self.recorded.is_none() {
            return Ok(());
        }
        self.check_place(field)?;
        let sha256 = hash(&self.path).map_err(|error| self.error(error, field))?;
        self.check(&sha256, field)
    }

    /// Checks that the metadata may name the file.
    ///
    /// # Errors
    /// [`Error::Request`] for the metadata, with `field` as a remedy.
    pub(crate) fn check_place(&self, field: Field) -> Result<()> {
        match &self.recorded {
            Some(Recorded {
                image,
                outside: true,
                ..
            }) => Err(outside(image, &self.label, field)),
            _ => Ok(()),
        }
    }

    /// Checks that the file has the recorded hash, if there is one.
    ///
    /// # Errors
    /// [`Error::Field`] for the metadata when it differs; its remedy is `field`.
    pub(crate) fn check(&self, sha256: &str, field: Field) -> Result<()> {
        match &self.recorded {
            Some(recorded) if recorded.sha256 != sha256 => Err(Error::request(
                Field::Record,
                format!(
                    "{} is not the file that {} was made with (its SHA-256 differs)",
                    self.label, recorded.image
                ),
            )
            .mended_by(field)),
            _ => Ok(()),
        }
    }

    /// Hashes the file, and checks that it is the recorded one.
    ///
    /// # Errors
    /// As [`check_first`](Self::check_first); [`Error::MissingFile`], [`Error::Io`] or
    /// [`Error::Format`], attributed to `field`.
    pub(crate) fn used(&self, field: Field) -> Result<UsedFile> {
        self.check_place(field)?;
        let sha256 = hash_file(&self.path).map_err(|error| self.error(error, field))?;
        self.check(&sha256, field)?;
        Ok(UsedFile {
            file: self.label.clone(),
            sha256,
        })
    }
}

/// The error for a file that the metadata of an image names and that lies elsewhere; `field` would
/// replace it.
pub(crate) fn outside(image: &str, file: &str, field: Field) -> Error {
    let reason = format!(
        "{image} names {file}, which is neither in the folder of that image nor in the current one"
    );
    let error = Error::request(Field::Record, reason);
    error.mended_by(field).mended_by(Field::Trust)
}
