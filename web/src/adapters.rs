//! Opens adapters from JavaScript: LoRAs and LightControl's weights.

use std::sync::Arc;

use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use x2i_core::png::{LoraRecord, UsedFile};
use x2i_core::weights::{Component, WeightSource, Weights};
use x2i_core::{LoadOptions, Lora};

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
pub async fn open(value: &JsValue, events: &Events) -> Result<(LoadOptions, Records)> {
    let (mut options, mut records) = (LoadOptions::default(), Records::default());
    if let Some(list) = js::get(value, "loras").dyn_ref::<Array>() {
        for given in list.iter() {
            let weights = used_file(&given);
            let scale = js::get(&given, "scale").as_f64().unwrap_or(f64::NAN) as f32;
            let lora = Lora::open(file(&given, &weights)?, scale).await?;
            warn(&lora, events);
            options.loras.push(Arc::new(lora));
            records.loras.push(LoraRecord { weights, scale });
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

/// Warns of keys for CLIP and T5, which are ignored.
fn warn(lora: &Lora, events: &Events) {
    let count = lora.text_encoder_keys().len();
    if count > 0 {
        let name = lora.name();
        events.warning(&Failure::new(
            "lora",
            format!(
                "{name}: {count} keys change the text encoders CLIP and T5, which X2I does not use; they are ignored"
            ),
        ));
    }
}
