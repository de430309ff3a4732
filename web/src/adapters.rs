//! Opens adapters from JavaScript: LoRAs and LightControl's weights.

use std::sync::Arc;

use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use x2i_core::png::{LoraRecord, UsedFile};
use x2i_core::weights::{Component, WeightSource, Weights};
use x2i_core::{LoadOptions, Lora, ModelConfig};

use crate::events::Events;
use crate::failure::{Failure, Result};
use crate::inputs::used_file;
use crate::js;
use crate::model::BlobFile;

/// The records of the adapters, for the metadata.
#[derive(Debug, Default)]
pub struct Records {
    /// All LoRAs.
    pub loras: Vec<LoraRecord>,
    /// LightControl's weights.
    pub control: Option<UsedFile>,
}

/// Opens `{ loras?: [{ name, sha256, data, scale }], control?: { name, sha256, data } }`.
///
/// # Errors
/// `format` for a broken file, `request` for a scale that is not a number.
pub async fn open(value: &JsValue) -> Result<(LoadOptions, Records)> {
    let (mut options, mut records) = (LoadOptions::default(), Records::default());
    if let Some(list) = js::get(value, "loras").dyn_ref::<Array>() {
        for given in list.iter() {
            let weights = used_file(&given);
            let scale = js::get(&given, "scale").as_f64().unwrap_or(f64::NAN) as f32;
            let lora = Lora::open(file(&given, &weights)?, scale).await?;
            options.loras.push(Arc::new(lora));
            records.loras.push(LoraRecord {
                weights,
                config: None,
                scale,
            });
        }
    }
    let control = js::get(value, "control");
    if !control.is_undefined() {
        let weights = used_file(&control);
        let source = file(&control, &weights)?;
        let label = weights.file.clone();
        let opened = Weights::open(label, Component::LightControl, vec![source]).await?;
        options.control = Some(Arc::new(opened));
        records.control = Some(weights);
    }
    Ok((options, records))
}

fn file(value: &JsValue, UsedFile { file, .. }: &UsedFile) -> Result<Arc<dyn WeightSource>> {
    let blob = js::get(value, "data").dyn_into();
    let blob = blob.map_err(|_| Failure::new("config", format!("{file}: is not a Blob")))?;
    Ok(Arc::new(BlobFile::new(file, blob)))
}

/// Warns of what the LoRAs change that the model does not have.
pub fn warn(options: &LoadOptions, model: &ModelConfig, events: &Events) {
    let transformer = &model.flux.config;
    for lora in &options.loras {
        for warning in lora.warnings(|name| transformer.has_layer(name)) {
            events.warning(&Failure::new("lora", warning));
        }
    }
}
