//! Opens adapters from JavaScript: LoRAs and LightControl's weights.

use std::sync::Arc;

use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use x2i_core::png::{LoraRecord, UsedFile};
use x2i_core::weights::{Component, WeightSource, Weights};
use x2i_core::{Error, LoadOptions, Lora, LoraConfig, ModelConfig};

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

/// Bytes of a LoRA's config; real ones have a few thousand.
const MOST_CONFIG: u64 = 4 << 20;

/// Opens `{ loras?: [{ name, sha256, data, config?: { name, sha256, data }, scale }], control?: { name,
/// sha256, data } }`.
///
/// # Errors
/// `format` for a broken file, `config` for a config that x2i can't follow, `request` for a scale that is
/// not a number.
pub async fn open(value: &JsValue) -> Result<(LoadOptions, Records)> {
    let (mut options, mut records) = (LoadOptions::default(), Records::default());
    if let Some(list) = js::get(value, "loras").dyn_ref::<Array>() {
        for given in list.iter() {
            let weights = used_file(&given);
            let scale = js::get(&given, "scale").as_f64().unwrap_or(f64::NAN) as f32;
            let (config, used) = open_config(&js::get(&given, "config")).await?.unzip();
            let lora = Lora::open_with(file(&given, &weights)?, scale, config.as_ref()).await?;
            options.loras.push(Arc::new(lora));
            records.loras.push(LoraRecord {
                weights,
                config: used,
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

/// PEFT's config of a LoRA, and its record.
async fn open_config(value: &JsValue) -> Result<Option<(LoraConfig, UsedFile)>> {
    if value.is_undefined() {
        return Ok(None);
    }
    let used = used_file(value);
    let source = file(value, &used)?;
    let bytes = source.len();
    if bytes > MOST_CONFIG {
        let reason = format!("has {bytes} bytes, the limit is {MOST_CONFIG}");
        return Err(Error::config(used.file, reason).into());
    }
    let json = source.read(0..bytes).await?;
    Ok(Some((LoraConfig::parse(&used.file, &json)?, used)))
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
