//! Plans the content of all new files before anything is written.

use anyhow::{Result, bail};
use x2i_core::model::{self, ModelSource};
use x2i_core::weights::gguf::MetaValue;
use x2i_core::weights::{Component, StoredType, Weights};
use x2i_core::{Error, ModelConfig};

use super::rule;
use crate::flags::{ConvertArgs, Override, Quantize};
use crate::weights_report::components;

/// A tensor of the new file: name, type and shape.
pub(crate) type Planned = (String, StoredType, Vec<usize>);

/// One component of the model: its weights, and the plan of its new file.
pub(super) struct Part {
    /// `encoder`, `align_net`, `flux` or `vae`.
    pub(super) name: &'static str,
    pub(super) component: Component,
    pub(super) weights: Weights,
    /// All its tensors, sorted by name.
    pub(super) tensors: Vec<Planned>,
}

/// Opens all components and chooses the type of every tensor.
///
/// # Errors
/// When a component can't be opened, when an override matches no tensor, or when the rows of a
/// tensor do not divide into the blocks of its type.
pub(super) fn parts(
    source: &dyn ModelSource,
    config: &ModelConfig,
    args: &ConvertArgs,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (name, component, files) in components(config) {
        let weights = pollster::block_on(model::open_weights(source, component, files))?;
        let tensors = tensors(component, &weights, args.quantize);
        parts.push(Part {
            name,
            component,
            weights,
            tensors,
        });
    }
    for r#override in &args.overrides {
        apply(r#override, &mut parts)?;
    }
    Ok(parts)
}

/// All tensors of a component with the types that the rule chooses, sorted by name.
pub(crate) fn tensors(component: Component, weights: &Weights, quantize: Quantize) -> Vec<Planned> {
    let plan = |name: &str| {
        let (shape, stored) = (weights.shape(name)?, weights.stored(name)?);
        let stored = rule::choose(component, name, stored, &shape, quantize);
        Some((name.to_owned(), stored, shape))
    };
    weights.names().filter_map(plan).collect()
}

/// Changes the types of the tensors that the override matches; a later override may change them
/// again.
fn apply(r#override: &Override, parts: &mut [Part]) -> Result<()> {
    let Override {
        text,
        names,
        stored,
    } = r#override;
    let mut matched = false;
    for part in parts {
        for (name, planned, shape) in &mut part.tensors {
            if !names.is_match(name) {
                continue;
            }
            matched = true;
            if stored.byte_len(shape).is_none() || (stored.is_block() && shape.is_empty()) {
                let reason = format!(
                    "--override {text}: tensor `{name}` of shape {shape:?} does not divide into \
                     blocks of {stored}"
                );
                return Err(Error::format(part.weights.file_of(name), reason).into());
            }
            *planned = *stored;
        }
    }
    if !matched {
        bail!("--override {text}: matches no tensor; x2i inspect --tensors lists names");
    }
    Ok(())
}

/// The header's key-value pairs. The name of the architecture is llama.cpp's if it has one.
pub(crate) fn metadata(component: Component, model: &str) -> Vec<(String, MetaValue)> {
    let architecture = match component {
        Component::Flux => "flux",
        Component::Vae => "autoencoder_kl",
        Component::AlignNet => "x2i_align_net",
        Component::Qwen2_5Vl => "qwen2vl",
        Component::LightControl => "light_control",
        // llama.cpp stores these models in two files and can't read our single file.
        Component::InternVl2_5 => "internvl_chat",
        Component::MiniCpmO => "minicpmo",
        Component::T5 => "t5encoder",
        Component::ClipText => "clip_text",
    };
    vec![
        ("general.architecture".into(), architecture.into()),
        ("general.name".into(), model.into()),
        ("general.quantization_version".into(), MetaValue::U32(2)),
    ]
}
