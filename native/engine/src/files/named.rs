//! A file that a job names: where it is, what a record calls it, and which file it must be.

use std::path::{Path, PathBuf};

use x2i_core::png::UsedFile;
use x2i_core::{Error, Field, Result};

use super::hash::hash_file;

/// A file that a caller names, or that the record of an image names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    path: PathBuf,
    /// What a record calls it.
    label: String,
    recorded: Option<Recorded>,
}

/// What is known of a file that a record names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Recorded {
    /// In hex.
    sha256: String,
    /// The image that holds the record.
    image: String,
}

impl NamedFile {
    /// A file by its path; records call it by that path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            label: path.display().to_string(),
            path,
            recorded: None,
        }
    }

    /// A file that the record of `image` names: where the record says, or else in `folder`. It must
    /// have the recorded hash.
    pub fn recorded(file: &str, sha256: &str, image: &str, folder: &Path) -> Self {
        let here = PathBuf::from(file);
        let path = match here.exists() {
            true => here,
            false => folder.join(file),
        };
        Self {
            path,
            label: file.to_owned(),
            recorded: Some(Recorded {
                sha256: sha256.to_owned(),
                image: image.to_owned(),
            }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a record calls it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Attributes an error to the field that gave the file: to `field`, or to the record.
    pub(crate) fn error(&self, error: Error, field: Field) -> Error {
        match &self.recorded {
            None => error.at(field),
            Some(Recorded { image, .. }) => Error::request(
                Field::Record,
                format!("{image} was made with a file: {error}"),
            ),
        }
    }

    /// Refuses a file whose hash is not the recorded one.
    ///
    /// # Errors
    /// [`Error::Field`] for the record; its remedy is `field`.
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
    /// [`Error::MissingFile`], [`Error::Io`] or [`Error::Request`], attributed to `field` or the
    /// record.
    pub(crate) fn used(&self, field: Field) -> Result<UsedFile> {
        let sha256 = hash_file(&self.path).map_err(|error| self.error(error, field))?;
        self.check(&sha256, field)?;
        Ok(UsedFile {
            file: self.label.clone(),
            sha256,
        })
    }
}
