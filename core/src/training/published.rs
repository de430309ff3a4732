//! Files of what was trained, in the layouts that other programs read, as tensors and metadata.
//!
//! AlignNet and LightControl have the reference's own keys, which are ours. A LoRA is written with diffusers' keys and
//! `lora_adapter_metadata` (diffusers 0.34 and later; without it alpha / rank is lost), or with kohya's, whose layers are
//! BFL's: there queries, keys and values are one layer, and so are all outputs of a single block's first one.
//! Left out: writing them to a disk.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::lora::{Adapter, Module, Start, Targets, names};
use super::{Parameter, Parameters};
use crate::error::{Error, Result};
use crate::weights::WeightFile;
use crate::weights::safetensors::OutTensor;

/// Metadata of a safetensors file.
pub type Metadata = BTreeMap<String, String>;

/// What stands before the keys of a transformer in diffusers' LoRA files.
const DIFFUSERS: &str = "transformer.";
/// What stands before the flat keys of kohya's.
const KOHYA: &str = "lora_unet_";

/// All parameters under their own names.
pub fn plain(parameters: &Parameters) -> Vec<OutTensor> {
    let tensors = parameters
        .iter()
        .map(|(name, Parameter { shape, values })| OutTensor::floats(name, shape.clone(), values));
    tensors.collect()
}

/// Takes the scales of layers into AlignNet's mix: parameters that were trained on hidden states divided by `scales`, one
/// for each layer of the language model, become those for the states as they are. The first and the last layer's
/// states may be hundreds of times smaller than the others, and would be drowned by them.
///
/// # Errors
/// [`Error::Shape`] for another number of layers; [`Error::MissingTensor`] for a mix without weights.
pub fn fold_layer_scales(parameters: &mut Parameters, scales: &[f32]) -> Result<()> {
    let mut mixes = parameters
        .iter_mut()
        .filter(|(name, _)| ["conv.weight", "cha_scale"].contains(name));
    let Some((name, mix)) = mixes.next() else {
        return Err(Error::MissingTensor {
            file: "AlignNet".to_owned(),
            name: "conv.weight".to_owned(),
        });
    };
    if mix.shape.get(1) != Some(&scales.len()) {
        let mut expected = mix.shape.clone();
        expected[1] = scales.len();
        return Err(Error::Shape {
            file: "AlignNet".to_owned(),
            name: name.to_owned(),
            expected,
            found: mix.shape.clone(),
        });
    }
    let layer = (mix.values.len() / scales.len().max(1)).max(1);
    for (values, scale) in mix.values.chunks_exact_mut(layer).zip(scales) {
        values.iter_mut().for_each(|value| *value /= scale);
    }
    Ok(())
}

/// A LoRA with diffusers' keys.
pub fn diffusers(parameters: &Parameters) -> Vec<OutTensor> {
    let mut tensors = plain(parameters);
    for tensor in &mut tensors {
        tensor.name.insert_str(0, DIFFUSERS);
    }
    tensors
}

/// The parameters of an adapter in a file of diffusers' keys.
///
/// # Errors
/// What the source says, and as [`Adapter::check`].
pub async fn read_diffusers(weights: &WeightFile, adapter: &Adapter) -> Result<Parameters> {
    let mut parameters = Parameters::default();
    for (key, info) in weights.tensors() {
        let name = key.strip_prefix(DIFFUSERS).unwrap_or(key);
        let tensor = weights.read(key).await?;
        parameters.insert(name, info.shape.clone(), tensor.to_f32());
    }
    adapter.check(&parameters, weights.name())?;
    Ok(parameters)
}

/// `format` and `lora_adapter_metadata`: PEFT's configuration, as diffusers writes it.
pub fn diffusers_metadata(adapter: &Adapter, start: Start) -> Metadata {
    let targets = match &adapter.targets {
        Targets::Names(names) => {
            let mut names = names.clone();
            names.sort_unstable();
            json!(names)
        }
        Targets::Pattern(pattern) => json!(pattern),
    };
    let alpha = match adapter.alpha.fract() == 0.0 {
        true => json!(adapter.alpha as i64),
        false => json!(adapter.alpha),
    };
    let init = match start {
        Start::Uniform => json!(true),
        Start::Gaussian => json!("gaussian"),
    };
    let config = [
        ("alpha_pattern", json!({})),
        ("auto_mapping", Value::Null),
        ("base_model_name_or_path", Value::Null),
        ("bias", json!("none")),
        ("fan_in_fan_out", json!(false)),
        ("inference_mode", json!(false)),
        ("init_lora_weights", init),
        ("layer_replication", Value::Null),
        ("layers_pattern", Value::Null),
        ("layers_to_transform", Value::Null),
        ("loftq_config", json!({})),
        ("lora_alpha", alpha),
        ("lora_dropout", json!(0.0)),
        ("megatron_config", Value::Null),
        ("megatron_core", json!("megatron.core")),
        ("modules_to_save", Value::Null),
        ("peft_type", json!("LORA")),
        ("r", json!(adapter.rank)),
        ("rank_pattern", json!({})),
        ("revision", Value::Null),
        ("target_modules", targets),
        ("task_type", Value::Null),
        ("use_dora", json!(adapter.dora)),
        ("use_rslora", json!(false)),
    ];
    let config: BTreeMap<String, Value> = config
        .into_iter()
        .map(|(key, value)| (format!("{DIFFUSERS}{key}"), value))
        .collect();
    let text = format!("{:#}", json!(config));
    [("format", "pt".to_owned()), ("lora_adapter_metadata", text)]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// A LoRA with kohya's keys and alphas. Changes of parts of one layer become one change of a higher rank, which gives
/// the same sums.
///
/// # Errors
/// [`Error::MissingTensor`] for parameters of another adapter; [`Error::Format`] for DoRA, whose lengths need a layer
/// of its own.
pub fn kohya(adapter: &Adapter, parameters: &Parameters) -> Result<Vec<OutTensor>> {
    if adapter.dora {
        let reason =
            "DoRA's lengths have no place in kohya's joined layers; write diffusers' names";
        return Err(Error::format("LoRA", reason));
    }
    let mut layers: BTreeMap<&str, Vec<&Module>> = BTreeMap::new();
    for module in adapter.modules() {
        layers.entry(&module.layer).or_default().push(module);
    }
    let mut tensors = vec![];
    for (layer, modules) in layers {
        let rank = modules.len() * adapter.rank;
        let (input, output) = (modules[0].input, adapter.outputs(layer));
        let mut down = Vec::with_capacity(rank * input);
        let mut up = vec![0.0; output * rank];
        for (number, module) in modules.iter().enumerate() {
            let [a, b, _] = names(&module.path);
            down.extend(&values(parameters, &a)?.values);
            let pairs = values(parameters, &b)?.values.chunks_exact(adapter.rank);
            for (row, pair) in module.rows.clone().zip(pairs) {
                let place = row * rank + number * adapter.rank;
                up[place..place + adapter.rank].copy_from_slice(pair);
            }
        }
        let module = format!("{KOHYA}{}", layer.replace('.', "_"));
        let alpha = adapter.scale() * rank as f32;
        tensors.extend([
            OutTensor::floats(format!("{module}.alpha"), vec![], &[alpha]),
            OutTensor::floats(
                format!("{module}.lora_down.weight"),
                vec![rank, input],
                &down,
            ),
            OutTensor::floats(format!("{module}.lora_up.weight"), vec![output, rank], &up),
        ]);
    }
    Ok(tensors)
}

fn values<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a Parameter> {
    parameters.get(name).ok_or_else(|| Error::MissingTensor {
        file: "LoRA".to_owned(),
        name: name.to_owned(),
    })
}

/// What a person says of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Its title.
    pub title: String,
    /// Who made it.
    pub author: Option<String>,
    /// Its licence; FLUX.1-dev's covers what is derived of it.
    pub license: Option<String>,
    /// When it was made, ISO 8601.
    pub date: Option<String>,
    /// The model that it belongs to.
    pub base_model: Option<String>,
    /// What one says to call it up.
    pub trigger: Option<String>,
}

/// `modelspec.*` of Stability's Model Metadata Standard, for a LoRA of FLUX.1.
pub fn modelspec(about: &About, resolution: [usize; 2]) -> Metadata {
    let fixed = [
        ("sai_model_spec", "1.0.0".to_owned()),
        ("architecture", "flux-1-dev/lora".to_owned()),
        (
            "implementation",
            "https://github.com/black-forest-labs/flux".to_owned(),
        ),
        ("title", about.title.clone()),
        ("resolution", format!("{}x{}", resolution[0], resolution[1])),
    ];
    let given = [
        ("author", &about.author),
        ("license", &about.license),
        ("date", &about.date),
        ("trigger_phrase", &about.trigger),
    ];
    let given = given
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.clone()?)));
    let all = fixed.into_iter().chain(given);
    all.map(|(key, value)| (format!("modelspec.{key}"), value))
        .collect()
}

/// `ss_*` keys of sd-scripts, which interfaces show: the adapter's own; a run adds its own numbers.
pub fn kohya_metadata(adapter: &Adapter, about: &About) -> Metadata {
    let mut metadata: Metadata = [
        ("ss_network_module", "networks.lora_flux".to_owned()),
        ("ss_network_dim", adapter.rank.to_string()),
        ("ss_network_alpha", adapter.alpha.to_string()),
        ("ss_base_model_version", "flux1".to_owned()),
        ("ss_output_name", about.title.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if let Some(base) = &about.base_model {
        metadata.insert("ss_sd_model_name".to_owned(), base.clone());
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_of_layers_divide_their_part_of_the_mix() {
        let mut parameters = Parameters::default();
        parameters.insert("conv.weight", vec![1, 2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        parameters.insert("mlp.fc.1.bias", vec![1], vec![5.0]);
        fold_layer_scales(&mut parameters, &[2.0, 4.0]).expect("two layers");
        let values = |name| parameters.get(name).map(|found| found.values.as_slice());
        assert_eq!(values("conv.weight"), Some(&[0.5, 1.0, 0.75, 1.0][..]));
        assert_eq!(values("mlp.fc.1.bias"), Some(&[5.0][..]));
        assert!(fold_layer_scales(&mut parameters.clone(), &[1.0; 3]).is_err());
        assert!(fold_layer_scales(&mut Parameters::default(), &[]).is_err());
    }
}
