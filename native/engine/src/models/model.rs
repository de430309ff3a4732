//! A model that is ready to be loaded: files, config and adapters.

use std::sync::Arc;

use x2i_core::model::{ModelSource, notices, read_config};
use x2i_core::{ModelConfig, Result};

use super::files::ModelFiles;
use crate::adapters::{AdapterSpec, Adapters};

/// A model that is ready to be loaded. Its config is read and checked; its weights are not read yet.
#[derive(Clone)]
pub struct Model {
    files: ModelFiles,
    config: ModelConfig,
    notices: Vec<String>,
    adapters: Adapters,
    /// Its place in records, where that is not where its files are.
    place: Option<String>,
}

impl Model {
    /// Opens a model by the embedded model's name (`emoji`) or by a folder's path.
    ///
    /// # Errors
    /// As [`ModelFiles::find`] and [`read_config`].
    pub fn open(model: &str) -> Result<Self> {
        Self::from_files(ModelFiles::find(Some(model))?)
    }

    /// Opens a model whose files the caller provides.
    ///
    /// # Errors
    /// As [`read_config`].
    pub fn from_source(source: Arc<dyn ModelSource>) -> Result<Self> {
        Self::from_files(ModelFiles::Custom(source))
    }

    /// Opens a model from its files.
    ///
    /// # Errors
    /// As [`read_config`].
    pub fn from_files(files: ModelFiles) -> Result<Self> {
        let config = pollster::block_on(read_config(&files))?;
        Ok(Self {
            notices: pollster::block_on(notices(&files, &config))?,
            files,
            config,
            adapters: Adapters::default(),
            place: None,
        })
    }

    /// The same model with these adapters instead of its own. Opens and hashes their files.
    ///
    /// # Errors
    /// As [`Adapters::open`].
    pub fn with_adapters(self, adapters: &AdapterSpec) -> Result<Self> {
        Ok(Self {
            adapters: Adapters::open(adapters)?,
            ..self
        })
    }

    /// The same model whose records name this place: a server's images do not tell where its files are.
    pub fn recorded_as(self, place: impl Into<String>) -> Self {
        Self {
            place: Some(place.into()),
            ..self
        }
    }

    /// Its place in records: a name or a folder.
    pub fn place(&self) -> String {
        self.place.clone().unwrap_or_else(|| self.files.place())
    }

    /// Its files.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// Its config.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What a user may want to know of how its files were chosen, one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Its adapters.
    pub fn adapters(&self) -> &Adapters {
        &self.adapters
    }

    /// Warnings about the adapters beside this model, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.adapters.warnings(&self.config.flux.config)
    }
}
