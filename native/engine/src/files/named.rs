//! A file that a job names: its path, its name in the metadata, and the hash that it must have.

use std::path::{Path, PathBuf};

use x2i_core::png::UsedFile;
use x2i_core::{Error, Field, Result};

use super::hash::hash_file;
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
    /// have the recorded hash.
    pub fn recorded(file: &str, sha256: &str, image: &str, folder: &Path) -> Self {
        let here = PathBuf::from(file);
        let url = resolve(&here).ok().filter(|(_, held)| held.is_some());
        let (path, held) = match url {
            Some(data) => data,
            None if here.exists() => (here, None),
            None => (folder.join(file), None),
        };
        Self {
            path,
            label: file.to_owned(),
            recorded: Some(Recorded {
                sha256: sha256.to_owned(),
                image: image.to_owned(),
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

    /// Attributes an error to the field that gave the file: to `field`, or to the metadata.
    pub(crate) fn error(&self, error: Error, field: Field) -> Error {
        match &self.recorded {
            None => error.at(field),
            Some(Recorded { image, .. }) => Error::request(
                Field::Record,
                format!("{image} was made with a file: {error}"),
            )
            .mended_by(field),
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
    /// [`Error::MissingFile`], [`Error::Io`] or [`Error::Request`], attributed to `field` or to the
    /// metadata.
    pub(crate) fn used(&self, field: Field) -> Result<UsedFile> {
        let sha256 = hash_file(&self.path).map_err(|error| self.error(error, field))?;
        self.check(&sha256, field)?;
        Ok(UsedFile {
            file: self.label.clone(),
            sha256,
        })
    }
}
