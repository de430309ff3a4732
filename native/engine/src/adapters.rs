//! Adapters: opens and hashes LoRAs and LightControl's weights before any weight of the model is
//! read.

use std::sync::Arc;

use x2i_core::png::{LoraRecord, UsedFile};
use x2i_core::weights::{Component, Weights};
use x2i_core::{Field, LoadOptions, Lora, Result};

use crate::files::NamedFile;
use crate::models::MappedFile;

/// Which adapters a model is loaded with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AdapterSpec {
    /// LoRAs of the transformer; all are applied.
    pub loras: Vec<LoraSpec>,
    /// LightControl's weights, for jobs with a control image.
    pub control_weights: Option<NamedFile>,
}

/// A LoRA to load.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSpec {
    /// The file, in any of the usual namings.
    pub file: NamedFile,
    /// The factor of its change to the matrices, finite; 1 is the scale of its training.
    pub scale: f32,
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
        let loras = spec.loras.iter().map(open_lora);
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

    /// Warnings for the user, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let partly = self.loras.iter().filter_map(|(lora, _)| {
            let count = lora.text_encoder_keys().len();
            (count > 0).then(|| {
                format!(
                    "{}: {count} keys change the text encoders CLIP and T5, which X2I does not use; \
                     they are ignored",
                    lora.name()
                )
            })
        });
        partly.collect()
    }
}

fn open_lora(LoraSpec { file, scale }: &LoraSpec) -> Result<(Arc<Lora>, LoraRecord)> {
    let weights = file.used(Field::Lora)?;
    let open = || pollster::block_on(Lora::open(Arc::new(MappedFile::open(file.path())?), *scale));
    let lora = open().map_err(|error| file.error(error, Field::Lora))?;
    let record = LoraRecord {
        weights,
        scale: *scale,
    };
    Ok((Arc::new(lora), record))
}

fn open_control(file: &NamedFile) -> Result<(Arc<Weights>, UsedFile)> {
    let used = file.used(Field::ControlWeights)?;
    let open = || {
        let source = Arc::new(MappedFile::open(file.path())?);
        let label = file.label().to_owned();
        let weights = Weights::open(label, Component::LightControl, vec![source]);
        pollster::block_on(weights)
    };
    let weights = open().map_err(|error| file.error(error, Field::ControlWeights))?;
    Ok((Arc::new(weights), used))
}
