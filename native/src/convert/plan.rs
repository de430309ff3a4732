//! How each tensor is stored: the rules of `convert --quantize`.

use std::borrow::Cow;

use x2i_core::weights::gguf::MetaValue;
use x2i_core::weights::{Component, HostTensor, StoredType, Weights, quant};

use crate::cli::Quantize;

/// A tensor of the new file: name, type and shape.
pub(crate) type Planned = (String, StoredType, Vec<usize>);

/// All tensors of a part in the order of their names.
pub(crate) fn tensors(weights: &Weights, quantize: Quantize) -> Vec<Planned> {
    let plan = |name: &str| {
        let shape = weights.shape(name)?;
        let stored = choose(name, weights.stored(name)?, &shape, quantize);
        Some((name.to_owned(), stored, shape))
    };
    weights.names().filter_map(plan).collect()
}

/// The type that a tensor is stored as.
fn choose(name: &str, stored: StoredType, shape: &[usize], quantize: Quantize) -> StoredType {
    let half = if shape.len() >= 2 {
        StoredType::F16
    } else {
        StoredType::F32
    };
    let blocks = |block: StoredType| {
        if takes_blocks(name, shape) {
            block
        } else {
            half
        }
    };
    match quantize {
        Quantize::None => match stored {
            // GGUF has no booleans and no unsigned bytes; 64 bits are of no use to an f32 runtime.
            StoredType::F64 | StoredType::Bool | StoredType::U8 => StoredType::F32,
            other => other,
        },
        Quantize::F32 => StoredType::F32,
        Quantize::F16 => half,
        Quantize::Q8_0 => blocks(StoredType::Q8_0),
        Quantize::Q4_0 => blocks(StoredType::Q4_0),
    }
}

/// Matrices of linear layers and embeddings whose rows divide into blocks.
fn takes_blocks(name: &str, shape: &[usize]) -> bool {
    // A T5 bias is a small table that is added to attention's logits: every bit counts.
    let is_weight = name.ends_with(".weight") && !name.ends_with("relative_attention_bias.weight");
    is_weight && matches!(shape, [_, row] if row % StoredType::Q8_0.block_len() == 0 && *row > 0)
}

/// The tensor's values as `stored`; as they are where that is their type already.
pub(crate) fn store<'a>(
    tensor: &'a HostTensor<'_>,
    stored: StoredType,
) -> Result<Cow<'a, [u8]>, String> {
    if tensor.stored == stored {
        return Ok(Cow::Borrowed(&tensor.bytes));
    }
    let values = tensor.to_f32();
    let largest = values
        .iter()
        .fold(0.0f32, |largest, value| largest.max(value.abs()));
    if stored == StoredType::F16
        && values.iter().any(|value| value.is_finite())
        && largest >= F16_MAX
    {
        return Err(format!(
            "holds {largest}, which f16 can't; keep its type with --quantize none, or take f32"
        ));
    }
    if stored.is_block() && !values.iter().all(|value| value.is_finite()) {
        return Err("holds infinities or NaN, which blocks can't".into());
    }
    Ok(Cow::Owned(quant::quantize(&values, stored)))
}

/// What would round to infinity in f16.
const F16_MAX: f32 = 65_520.0;

/// The header's key-value pairs; the architecture's names are llama.cpp's where it has one.
pub(crate) fn metadata(component: Component, model: &str) -> Vec<(String, MetaValue)> {
    let architecture = match component {
        Component::Flux => "flux",
        Component::Vae => "autoencoder_kl",
        Component::AlignNet => "x2i_align_net",
        Component::Qwen2_5Vl => "qwen2vl",
    };
    vec![
        ("general.architecture".into(), architecture.into()),
        ("general.name".into(), model.into()),
        ("general.quantization_version".into(), MetaValue::U32(2)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_take_blocks_and_the_rest_does_not() {
        let q8_0 = |name, shape: &[usize]| choose(name, StoredType::BF16, shape, Quantize::Q8_0);
        assert_eq!(q8_0("img_in.weight", &[64, 64]), StoredType::Q8_0);
        assert_eq!(q8_0("img_in.weight", &[64, 48]), StoredType::F16);
        assert_eq!(q8_0("conv_in.weight", &[64, 32, 3, 3]), StoredType::F16);
        assert_eq!(q8_0("norm.weight", &[64]), StoredType::F32);
        assert_eq!(q8_0("img_in.bias", &[64]), StoredType::F32);
        assert_eq!(
            q8_0("t5.relative_attention_bias.weight", &[32, 64]),
            StoredType::F16
        );
    }

    #[test]
    fn none_keeps_what_gguf_can_hold() {
        let none = |stored| choose("a.weight", stored, &[2, 2], Quantize::None);
        for kept in [
            StoredType::F32,
            StoredType::F16,
            StoredType::BF16,
            StoredType::Q4_0,
            StoredType::I64,
        ] {
            assert_eq!(none(kept), kept);
        }
        assert_eq!(none(StoredType::F64), StoredType::F32);
    }

    #[test]
    fn values_that_f16_can_not_hold_are_refused() {
        let tensor = |value: f32| HostTensor {
            stored: StoredType::F32,
            shape: vec![1, 1],
            bytes: Cow::Owned(value.to_le_bytes().to_vec()),
        };
        assert!(store(&tensor(65_504.0), StoredType::F16).is_ok());
        assert!(store(&tensor(70_000.0), StoredType::F16).is_err());
    }
}
