//! ComfyUI's own words: the marker of scaled FP8, and the format of a layer.
//!
//! Source: `convert_old_quants` and `MixedPrecisionOps` of ComfyUI. A format rules there over what
//! the weight's own type says, so one that is not known is refused, and so is one that has options
//! beyond those that concern products alone or repeat what the tensors say (`convrot` rotates the weight).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::weights::file::WeightFile;
use crate::weights::gguf::MetaValue;
use crate::weights::place::Place;
use crate::weights::stored::StoredType;

/// The metadata's key, and the tensor at a part's root.
const METADATA: &str = "_quantization_metadata";
const MARKER: &str = "scaled_fp8";

/// What to take in place of a file whose format is not read.
const INSTEAD: &str = "take the file in bf16, FP8 or GGUF";

/// Options that change no number. The tensors tell the shapes of scales, the type that is computed in is
/// ours, and a group's size says something beside `convrot` alone.
const HARMLESS: [&str; 6] = [
    "full_precision_matrix_mult",
    "per_channel",
    "per_row",
    "orig_dtype",
    "orig_shape",
    "convrot_groupsize",
];

/// True for the tensor that says that a part's FP8 is scaled.
pub(super) fn is_marker(name: &str) -> bool {
    name.rsplit('.').next() == Some(MARKER)
}

/// What a format says of a layer.
#[derive(Deserialize)]
struct Format {
    format: String,
    #[serde(flatten)]
    options: Map<String, Value>,
}

impl Format {
    /// The type of the numbers that the format multiplies with a scale.
    fn numbers(&self) -> Result<StoredType, String> {
        let other = self.options.iter().find(|(key, value)| {
            let is_off = matches!(value, Value::Null | Value::Bool(false));
            !HARMLESS.contains(&key.as_str()) && !is_off
        });
        if let Some((key, value)) = other {
            return Err(match key.as_str() {
                "convrot" => format!(
                    "names `convrot`: its weights are rotated, which is not undone; {INSTEAD}"
                ),
                _ => format!("names `{key}` ({value}), which is not read; {INSTEAD}"),
            });
        }
        match self.format.as_str() {
            "float8_e4m3fn" => Ok(StoredType::F8E4M3),
            "float8_e5m2" => Ok(StoredType::F8E5M2),
            "int8_tensorwise" => Ok(StoredType::I8),
            other => Err(format!(
                "names the format {other:?}, which is not read; {INSTEAD}"
            )),
        }
    }
}

/// The type of the numbers that a `comfy_quant` tensor asks for.
///
/// # Errors
/// [`Error::Format`] naming the tensor for what is not read.
pub(super) fn format(files: &[WeightFile], place: &Place) -> Result<StoredType> {
    let json = files[place.file].note(&place.name).unwrap_or_default();
    let format: Format = serde_json::from_slice(json)
        .map_err(|error| place.refuse(files, format!("can't be read: {error}")))?;
    format
        .numbers()
        .map_err(|reason| place.refuse(files, reason))
}

/// Looks at the formats that a file's metadata gives to its layers.
///
/// # Errors
/// [`Error::Format`] naming the first layer whose format is not read.
pub(super) fn check_metadata(files: &[WeightFile]) -> Result<()> {
    #[derive(Deserialize)]
    struct Metadata {
        layers: BTreeMap<String, Format>,
    }
    for file in files {
        let Some(MetaValue::String(json)) = file.metadata_value(METADATA) else {
            continue;
        };
        let broken = |reason: String| Error::format(file.name(), reason);
        let metadata: Metadata = serde_json::from_str(json)
            .map_err(|error| broken(format!("its {METADATA} can't be read: {error}")))?;
        for (layer, format) in metadata.layers {
            format
                .numbers()
                .map_err(|reason| broken(format!("its {METADATA} of layer `{layer}` {reason}")))?;
        }
    }
    Ok(())
}
