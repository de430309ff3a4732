//! `quantization_config` of a config.json: the format in which the weights beside it are stored.
//!
//! The tensors themselves say how they are read (`weights/companions`). What they can't say is
//! checked here: layouts and rotations that leave no trace in names and shapes. A method that is not
//! read is refused by its name.

use serde_json::{Map, Value};

use super::files::open_weights;
use super::source::ModelSource;
use crate::config::parse;
use crate::error::{Error, Result};
use crate::weights::{Component, StoredType};

/// What is read, for messages.
const READ: &str =
    "bitsandbytes (4 and 8 bits), AWQ (gemm, 4 bits), FP8 and compressed-tensors are";

/// Looks for a quantization in a config, at its root and in its parts.
///
/// # Errors
/// [`Error::Config`] naming the method or the key that is not read.
pub(super) fn check(file: &str, json: &[u8]) -> Result<()> {
    let config: Value = parse(file, json)?;
    let parts = ["text_config", "llm_config", "vision_config"];
    let parts = parts.iter().filter_map(|part| config.get(part));
    for part in std::iter::once(&config).chain(parts) {
        for key in ["quantization_config", "compression_config"] {
            match part.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::Object(quantization)) => {
                    method(quantization)
                        .map_err(|reason| Error::config(file, format!("{key}: {reason}")))?;
                }
                Some(other) => {
                    let reason = format!("{key}: {other} is no description of a quantization");
                    return Err(Error::config(file, reason));
                }
            }
        }
    }
    Ok(())
}

/// True for a config that says of its FP8 weights that they are scaled.
pub(super) fn scales_fp8(config: &Value) -> bool {
    let parts = ["text_config", "llm_config"].map(|part| config.get(part));
    let parts = std::iter::once(Some(config)).chain(parts).flatten();
    let methods = parts.filter_map(|part| part.get("quantization_config")?.get("quant_method"));
    methods
        .filter_map(Value::as_str)
        .any(|method| ["fp8", "fbgemm_fp8", "compressed-tensors"].contains(&method))
}

/// Fails for a matrix of FP8 that no scale stands beside.
///
/// # Errors
/// [`Error::Format`] naming it; errors from the files.
pub(super) async fn check_scales(
    source: &dyn ModelSource,
    component: Component,
    files: &[String],
) -> Result<()> {
    let weights = open_weights(source, component, files).await?;
    let alone = |name: &&str| {
        let matrix = weights.shape(name).is_some_and(|shape| shape.len() > 1);
        matrix && weights.stored(name).is_some_and(StoredType::is_fp8)
    };
    match weights.names().find(alone) {
        None => Ok(()),
        Some(name) => {
            let reason = format!(
                "tensor `{name}` is FP8 without a scale, and the quantization_config beside it says \
                 that FP8 is scaled: the scales are lost, get the file again"
            );
            Err(Error::format(weights.file_of(name), reason))
        }
    }
}

fn method(quantization: &Map<String, Value>) -> Result<(), String> {
    let text = |key: &str| quantization.get(key).and_then(Value::as_str);
    let on = |key: &str| quantization.get(key) == Some(&Value::Bool(true));
    match text("quant_method") {
        Some("bitsandbytes") => Ok(()),
        // Older bitsandbytes configs have no method.
        None if on("load_in_4bit") || on("load_in_8bit") => Ok(()),
        Some("fp8" | "fbgemm_fp8") => Ok(()),
        Some("awq") => awq(quantization),
        Some("compressed-tensors") => compressed_tensors(quantization),
        Some(other) => Err(format!("quant_method {other:?} is not read; {READ}")),
        None => Err(format!("names no quant_method; {READ}")),
    }
}

/// Other versions pack the same tensors otherwise.
fn awq(quantization: &Map<String, Value>) -> Result<(), String> {
    let bits = quantization.get("bits").or(quantization.get("w_bit"));
    let bits = bits.and_then(Value::as_u64).unwrap_or(4);
    let version = quantization.get("version").and_then(Value::as_str);
    let version = version.unwrap_or("gemm").to_lowercase();
    if bits != 4 || version != "gemm" {
        return Err(format!(
            "quant_method \"awq\" of {bits} bits, version {version:?}, is not read; 4 bits of \
             version \"gemm\" are"
        ));
    }
    Ok(())
}

fn compressed_tensors(quantization: &Map<String, Value>) -> Result<(), String> {
    /// What is stored as numbers with scales.
    const FORMATS: [&str; 5] = [
        "dense",
        "float-quantized",
        "int-quantized",
        "naive-quantized",
        "pack-quantized",
    ];
    let unread = |key: &str, value: &str| {
        let formats = FORMATS.join(", ");
        Err(format!(
            "quant_method \"compressed-tensors\" of {key} {value:?} is not read; {formats} are"
        ))
    };
    let format = quantization.get("format").and_then(Value::as_str);
    if let Some(format) = format.filter(|format| !FORMATS.contains(format)) {
        return unread("format", format);
    }
    let sparsity = quantization.get("sparsity_config");
    let sparsity = sparsity.and_then(|config| config.get("format")?.as_str());
    if let Some(sparse) = sparsity.filter(|sparse| *sparse != "dense") {
        return unread("sparsity_config.format", sparse);
    }
    // Rotations before a layer, of which its weight's inverse alone is stored.
    let transforms = quantization.get("transform_config");
    let transforms = transforms.and_then(Value::as_object);
    if transforms.is_some_and(|transforms| !transforms.is_empty()) {
        return Err("its transform_config rotates the inputs of layers, which is not done".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;
    use serde_json::{Value, json};

    fn outcome(config: &Value) -> Result<(), String> {
        check("config.json", config.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn of(quantization: Value) -> Result<(), String> {
        outcome(&json!({ "quantization_config": quantization }))
    }

    #[test]
    fn methods_that_are_read_pass() {
        assert_eq!(outcome(&json!({})), Ok(()));
        assert_eq!(of(Value::Null), Ok(()));
        for read in [
            json!({ "quant_method": "bitsandbytes", "load_in_4bit": true }),
            json!({ "load_in_8bit": true }),
            json!({ "quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm" }),
            json!({ "quant_method": "fp8", "weight_block_size": [128, 128] }),
            json!({ "quant_method": "compressed-tensors", "format": "int-quantized",
                    "sparsity_config": { "format": "dense" }, "transform_config": {} }),
        ] {
            assert_eq!(of(read.clone()), Ok(()), "{read}");
        }
    }

    #[test]
    fn other_methods_are_refused_by_name() {
        for (unread, says) in [
            (json!({ "quant_method": "gptq", "bits": 4 }), "\"gptq\""),
            (json!({ "quant_method": "torchao" }), "\"torchao\""),
            (
                json!({ "quant_method": "awq", "bits": 4, "version": "GEMV" }),
                "\"gemv\"",
            ),
            (json!({ "quant_method": "awq", "bits": 8 }), "8 bits"),
            (
                json!({ "quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized" }),
                "nvfp4",
            ),
            (
                json!({ "quant_method": "compressed-tensors", "format": "float-quantized",
                        "transform_config": { "config_groups": {} } }),
                "transform_config",
            ),
            (json!({ "bits": 4 }), "no quant_method"),
            (json!("int8"), "no description"),
        ] {
            let said = of(unread.clone()).err().unwrap_or_default();
            assert!(said.contains(says), "{unread}: {said}");
            assert!(
                said.starts_with("config.json: quantization_config: "),
                "{said}"
            );
        }
        let nested = json!({ "text_config": { "quantization_config": { "quant_method": "hqq" } } });
        let said = outcome(&nested).err().unwrap_or_default();
        assert!(said.contains("\"hqq\""), "{said}");
    }
}
