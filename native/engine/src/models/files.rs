//! The files of a model: embedded, in a folder, or from the caller's own source.

use std::path::Path;
use std::sync::Arc;

use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Field, Result};

use super::embedded::{EMBEDDED_NAME, EmbeddedSource};
use super::folder::FolderSource;
use super::hub;

/// The files of a model.
#[derive(Clone)]
pub enum ModelFiles {
    /// The embedded model.
    Embedded(EmbeddedSource),
    /// A folder.
    Folder(FolderSource),
    /// The caller's own source.
    Custom(Arc<dyn ModelSource>),
}

impl ModelFiles {
    /// Finds a model by the embedded model's name, by a folder's path, or by `OWNER/NAME[@REVISION]` in Hugging
    /// Face's cache. `None` is the embedded model. Nothing is downloaded: [`Hub`](super::hub) does that.
    ///
    /// # Errors
    /// [`Error::Request`] for [`Field::Model`] when there is no such model.
    pub fn find(model: Option<&str>) -> Result<Self> {
        let wanted = model.unwrap_or(EMBEDDED_NAME);
        if wanted == EMBEDDED_NAME {
            return EmbeddedSource::new().map(Self::Embedded).ok_or_else(|| {
                let reason = "this x2i has no embedded model; give a model folder, or build x2i \
                              where core/models/emoji holds the model";
                Error::request(Field::Model, reason)
            });
        }
        if Path::new(wanted).exists() {
            return FolderSource::open(wanted).map(Self::Folder);
        }
        let cached = hub::cached(wanted.strip_prefix("hf:").unwrap_or(wanted));
        if let Some(folder) = cached.filter(|folder| folder.is_dir()) {
            return FolderSource::open(folder).map(Self::Folder);
        }
        let embedded = match EmbeddedSource::new() {
            Some(_) => format!("embedded: {EMBEDDED_NAME}"),
            None => "this x2i has no embedded model".into(),
        };
        Err(Error::request(
            Field::Model,
            format!(
                "there is no folder {wanted}, nor an embedded model of that name ({embedded}), nor a \
                 repository OWNER/NAME of it in Hugging Face's cache"
            ),
        ))
    }

    /// Its name in the metadata: the embedded model's name, the folder's path, or the custom source's
    /// name.
    pub fn place(&self) -> String {
        match self {
            Self::Embedded(source) => source.name().to_owned(),
            Self::Folder(folder) => folder.root().display().to_string(),
            Self::Custom(source) => source.name().to_owned(),
        }
    }

    /// A warning for the user, in one sentence.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::Folder(folder) => folder.warning(),
            Self::Embedded(_) | Self::Custom(_) => None,
        }
    }

    fn source(&self) -> &dyn ModelSource {
        match self {
            Self::Embedded(source) => source,
            Self::Folder(source) => source,
            Self::Custom(source) => &**source,
        }
    }
}

impl ModelSource for ModelFiles {
    fn name(&self) -> &str {
        self.source().name()
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        self.source().open(path)
    }

    fn list<'a>(&'a self, folder: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>>> {
        self.source().list(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_nowhere_is_an_error_that_names_what_there_is() {
        let error = ModelFiles::find(Some("no-such-model")).err();
        let Some(Error::Request { field, reason }) = error else {
            panic!("it is a request's error");
        };
        assert_eq!(field, Field::Model);
        assert!(reason.starts_with("there is no folder no-such-model"));
    }
}
