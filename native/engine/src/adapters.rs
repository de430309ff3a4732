//! Adapters: opens and hashes LoRAs and LightControl's weights before any weight of the model is
//! read.

mod lora;

use std::path::Path;
use std::sync::Arc;

use x2i_core::config::FluxConfig;
use x2i_core::image::Hint;
use x2i_core::png::{LoraRecord, UsedFile};
use x2i_core::weights::gguf::MetaValue;
use x2i_core::weights::{Component, WeightFile, Weights};
use x2i_core::{Error, Field, LoadOptions, Lora, Result};

pub use lora::LoraSpec;

use crate::files::NamedFile;
use crate::models::MappedFile;

/// The metadata key of LightControl's weights that names their [`Hint`].
pub const HINT_KEY: &str = "x2i.hint";

/// The adapters to load with a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdapterSpec {
    /// LoRAs of the transformer; all are applied.
    pub loras: Vec<LoraSpec>,
    /// LightControl's weights, for jobs with a control image.
    pub control_weights: Option<NamedFile>,
}

/// Opened adapters, and their records for the metadata.
#[derive(Debug, Clone, Default)]
pub struct Adapters {
    loras: Vec<(Arc<Lora>, LoraRecord)>,
    control: Option<(Arc<Weights>, UsedFile)>,
}

impl Adapters {
    /// Opens and hashes the files.
    ///
    /// # Errors
    /// For a file that is missing or broken, or that is not the recorded one; attributed to
    /// [`Field::Lora`], [`Field::ControlWeights`] or [`Field::Record`]. Loading the model checks
    /// whether they fit it.
    pub fn open(spec: &AdapterSpec) -> Result<Self> {
        let loras = spec.loras.iter().map(lora::open);
        let control = spec.control_weights.as_ref().map(open_control);
        Ok(Self {
            loras: loras.collect::<Result<_>>()?,
            control: control.transpose()?,
        })
    }

    /// `options` with these adapters.
    pub(crate) fn added_to(&self, options: LoadOptions) -> LoadOptions {
        LoadOptions {
            loras: self.loras.iter().map(|(lora, _)| lora.clone()).collect(),
            control: self.control.as_ref().map(|(weights, _)| weights.clone()),
            ..options
        }
    }

    /// The records of the LoRAs.
    pub fn lora_records(&self) -> Vec<LoraRecord> {
        self.loras
            .iter()
            .map(|(_, record)| record.clone())
            .collect()
    }

    /// The record of LightControl's weights.
    pub fn control_weights(&self) -> Option<&UsedFile> {
        self.control.as_ref().map(|(_, file)| file)
    }

    /// What the LoRAs change that a transformer does not have, one sentence each.
    pub fn warnings(&self, transformer: &FluxConfig) -> Vec<String> {
        let loras = self.loras.iter();
        let warnings =
            loras.flat_map(|(lora, _)| lora.warnings(|name| transformer.has_layer(name)));
        warnings.collect()
    }
}

fn open_control(file: &NamedFile) -> Result<(Arc<Weights>, UsedFile)> {
    let used = file.used(Field::ControlWeights)?;
    let open = || {
        let source = Arc::new(MappedFile::open(file.path())?);
        let label = file.label().to_owned();
        let weights = Weights::open(label, Component::LightControl, vec![source]);
        let weights = pollster::block_on(weights)?;
        check_values(&weights)?;
        Ok(weights)
    };
    let weights = open().map_err(|error| file.error(error, Field::ControlWeights))?;
    Ok((Arc::new(weights), used))
}

/// The hint that LightControl's weights say they were trained on; `None` where the file can't be opened or says nothing.
pub fn trained_hint(weights: &Path) -> Option<Hint> {
    let source = Arc::new(MappedFile::open(weights).ok()?);
    let file = pollster::block_on(WeightFile::open(source)).ok()?;
    match file.metadata_value(HINT_KEY)? {
        MetaValue::String(hint) => serde_json::from_value(hint.as_str().into()).ok(),
        _ => None,
    }
}

/// Looks at all numbers, so that a damaged file is known before a model is loaded.
fn check_values(weights: &Weights) -> Result<()> {
    for file in weights.files() {
        if let Some(name) = pollster::block_on(file.first_not_finite())? {
            let reason = format!("tensor `{name}` holds NaN or an infinity; get the file again");
            return Err(Error::format(file.name(), reason));
        }
    }
    Ok(())
}
