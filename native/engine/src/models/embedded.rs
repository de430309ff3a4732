//! The embedded model, which is compiled into the program (cargo feature `embedded-model`).

use std::sync::Arc;

use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, MemorySource, WeightSource};
use x2i_core::{Error, Result};

/// The name of the embedded model.
pub const EMBEDDED_NAME: &str = "emoji";

/// Its files; empty when the program was built without it.
static EMBEDDED_FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/embedded_files.rs"));

/// The files of the embedded model.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedSource(());

impl EmbeddedSource {
    /// The embedded model; `None` when the program was built without it.
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
                file: format!("{EMBEDDED_NAME} (embedded)/{path}"),
            }),
        };
        Box::pin(std::future::ready(opened))
    }
}
