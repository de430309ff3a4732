//! The content of weight files and the memory that they need: for `inspect` and `doctor`.

use std::collections::BTreeMap;

use serde::Serialize;
use x2i_core::model::{self, ModelSource};
use x2i_core::weights::{Component, FileFormat, Target, WeightFile, Weights};
use x2i_core::{ModelConfig, Result};

/// One weight file.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// Its format.
    pub format: &'static str,
    /// The number of tensors.
    pub tensors: usize,
    /// The count of numbers in all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Tensors and bytes of each type.
    pub types: BTreeMap<String, TypeReport>,
    /// Key-value pairs of the header, as text.
    pub metadata: BTreeMap<String, String>,
}

/// The tensors of one type.
#[derive(Debug, Default, Serialize)]
pub struct TypeReport {
    /// The number of tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// One tensor.
#[derive(Debug, Serialize)]
pub struct TensorReport {
    /// Its name in the file.
    pub name: String,
    /// Its shape, rows first.
    pub shape: Vec<usize>,
    /// The type of its numbers.
    pub stored: String,
    /// Its bytes.
    pub bytes: u64,
}

/// The facts of a weight file.
pub fn file_report(file: &WeightFile) -> FileReport {
    let mut types: BTreeMap<String, TypeReport> = BTreeMap::new();
    for info in file.tensors().values() {
        let of_type = types.entry(info.stored.to_string()).or_default();
        of_type.tensors += 1;
        of_type.bytes += info.byte_len();
    }
    for stored in file.unread().values() {
        let unread = format!("{stored} (not read)");
        types.entry(unread).or_default().tensors += 1;
    }
    FileReport {
        format: match file.format() {
            FileFormat::Gguf => "GGUF",
            FileFormat::Safetensors => "safetensors",
            FileFormat::PickleZip => "PyTorch (zip)",
            FileFormat::PickleLegacy => "PyTorch (before 1.6)",
        },
        tensors: file.tensors().len() + file.unread().len(),
        parameters: file.tensors().values().map(|info| info.elements()).sum(),
        bytes: file.tensors().values().map(|info| info.byte_len()).sum(),
        types,
        metadata: metadata(file),
    }
}

fn metadata(file: &WeightFile) -> BTreeMap<String, String> {
    use x2i_core::weights::gguf::MetaValue;
    let shown = |value: &MetaValue| match value {
        MetaValue::String(text) => text.clone(),
        MetaValue::Array(_, values) => format!("{} values", values.len()),
        MetaValue::Bool(value) => value.to_string(),
        MetaValue::F32(value) => value.to_string(),
        MetaValue::F64(value) => value.to_string(),
        MetaValue::I8(_) | MetaValue::I16(_) | MetaValue::I32(_) | MetaValue::I64(_) => value
            .as_u64()
            .map_or("negative".into(), |value| value.to_string()),
        _ => value.as_u64().unwrap_or_default().to_string(),
    };
    file.metadata()
        .iter()
        .map(|(key, value)| (key.clone(), shown(value)))
        .collect()
}

/// All tensors of a file, the largest first.
pub fn tensors(file: &WeightFile) -> Vec<TensorReport> {
    let report = |(name, info): (&String, &x2i_core::weights::TensorInfo)| TensorReport {
        name: name.clone(),
        shape: info.shape.clone(),
        stored: info.stored.to_string(),
        bytes: info.byte_len(),
    };
    let mut tensors: Vec<TensorReport> = file.tensors().iter().map(report).collect();
    tensors.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    tensors
}

/// One component of a model.
#[derive(Debug, Serialize)]
pub struct PartReport {
    /// `encoder`, `align_net`, `flux` or `vae`.
    pub part: &'static str,
    /// Its architecture and sizes as text; empty when its config is unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// Its weight files.
    pub files: Vec<String>,
    /// The count of numbers in all tensors.
    pub parameters: u64,
    /// Bytes of its tensors in the files.
    pub bytes: u64,
    /// Bytes when loaded on the CPU.
    pub on_cpu: u64,
    /// Bytes when loaded on a GPU.
    pub on_gpu: u64,
    /// Bytes of the largest tensor on a GPU.
    pub largest: u64,
}

/// Reports on all components of a model.
///
/// # Errors
/// As [`model::open_weights`].
pub fn parts(source: &dyn ModelSource, config: &ModelConfig) -> Result<Vec<PartReport>> {
    let mut reports = Vec::new();
    for (part, component, files) in components(config) {
        let weights = pollster::block_on(model::open_weights(source, component, files))?;
        reports.push(part_report(
            part,
            describe(config, component),
            component,
            files,
            &weights,
        ));
    }
    Ok(reports)
}

/// The components of a model with their weight files, in the order of their work.
pub fn components(config: &ModelConfig) -> [(&'static str, Component, &[String]); 4] {
    [
        (
            "encoder",
            config.encoder.config.component(),
            &config.encoder.weights,
        ),
        ("align_net", Component::AlignNet, &config.align_net.weights),
        ("flux", Component::Flux, &config.flux.weights),
        ("vae", Component::Vae, &config.vae.weights),
    ]
}

/// The report on one component; `what` describes its architecture.
pub fn part_report(
    part: &'static str,
    what: String,
    component: Component,
    files: &[String],
    weights: &Weights,
) -> PartReport {
    let mut report = PartReport {
        part,
        what,
        files: files.to_vec(),
        parameters: 0,
        bytes: 0,
        on_cpu: 0,
        on_gpu: 0,
        largest: 0,
    };
    for name in weights.names() {
        let (Some(shape), Some(stored)) = (weights.shape(name), weights.stored(name)) else {
            continue;
        };
        let elements = shape.iter().map(|&size| size as u64).product::<u64>();
        report.parameters += elements;
        report.bytes += stored.byte_len(&shape).unwrap_or(0);
        // Only initial images need the VAE's encoder.
        if component == Component::Vae && name.starts_with("encoder.") {
            continue;
        }
        let on_gpu = weights.loaded_len(name, Target::Gpu);
        report.on_cpu += weights.loaded_len(name, Target::Cpu);
        report.on_gpu += on_gpu;
        report.largest = report.largest.max(on_gpu);
    }
    report
}

/// A component's architecture and sizes as text.
pub fn describe(config: &ModelConfig, component: Component) -> String {
    match component {
        Component::Qwen2_5Vl | Component::InternVl2_5 | Component::MiniCpmO => {
            let encoder = &config.encoder.config;
            format!(
                "{}, {} layers of width {}",
                encoder.family(),
                encoder.hidden_states() - 1,
                encoder.decoder().hidden_size
            )
        }
        Component::AlignNet => "AlignNet".into(),
        Component::LightControl | Component::T5 | Component::ClipText => component.to_string(),
        Component::Flux => {
            let flux = &config.flux.config;
            format!(
                "FLUX {}, {} double and {} single blocks of width {}",
                if flux.guidance_embeds {
                    "dev"
                } else {
                    "schnell"
                },
                flux.num_layers,
                flux.num_single_layers,
                flux.hidden_size()
            )
        }
        Component::Vae => {
            let vae = &config.vae.config;
            format!(
                "AutoencoderKL, {} latent channels, {} times smaller",
                vae.latent_channels,
                vae.downsampling()
            )
        }
    }
}
