//! The rule behind `convert --quantize`: chooses the weight type of each tensor.
//!
//! The matrices of linear layers and token embeddings are block-quantized: nearly all of a model's
//! numbers. Small tensors that all others depend on are not, as in ComfyUI's GGUF files of FLUX:
//!
//! - vectors (norms, biases, scales) are f32;
//! - FLUX's embedders and final layer, the towers' embeddings, convolutions, the whole
//!   VAE and T5's table of relative biases are f16, or stay bf16.
//!
//! A row length that is not a multiple of 256 takes Q8_0 instead of Q4_K; one that is not a multiple
//! of 32 takes f16.

use x2i_core::weights::{Component, StoredType};

use crate::flags::Quantize;

/// Matrices that are not quantized, by the beginnings and ends of their names.
const KEPT: [&str; 11] = [
    "img_in.",
    "txt_in.",
    "time_in.",
    "vector_in.",
    "guidance_in.",
    "final_layer.",
    "visual.patch_embed.",
    "vision_model.embeddings.",
    "vpm.embeddings.",
    "apm.embed_positions.",
    // A small table that is added to the logits of attention, where precision matters.
    ".relative_attention_bias.weight",
];

/// The new type of a tensor of type `stored` in the source; `name` and `shape` are ours.
pub(super) fn choose(
    component: Component,
    name: &str,
    stored: StoredType,
    shape: &[usize],
    quantize: Quantize,
) -> StoredType {
    let plain = |half| match shape.len() {
        0 | 1 => StoredType::F32,
        _ => half,
    };
    let block = match quantize {
        Quantize::None => {
            return match stored {
                // GGUF has no booleans and no unsigned numbers; the runtime computes in f32, not f64.
                StoredType::F64
                | StoredType::Bool
                | StoredType::U64
                | StoredType::U32
                | StoredType::U16
                | StoredType::U8 => StoredType::F32,
                // Nor floats of 8 bits; an f16 holds each of them exactly.
                StoredType::F8E4M3 | StoredType::F8E5M2 => StoredType::F16,
                other => other,
            };
        }
        Quantize::F32 => return StoredType::F32,
        Quantize::F16 => return plain(StoredType::F16),
        Quantize::Q8_0 => StoredType::Q8_0,
        Quantize::Q4_0 => StoredType::Q4_0,
        Quantize::Q4K => StoredType::Q4K,
    };
    let divides = |block: StoredType| {
        shape
            .last()
            .is_some_and(|row| *row > 0 && row.is_multiple_of(block.block_len()))
    };
    if takes_blocks(component, name, shape) {
        if divides(block) {
            return block;
        }
        if divides(StoredType::Q8_0) {
            return StoredType::Q8_0;
        }
    }
    plain(match stored {
        StoredType::BF16 => StoredType::BF16,
        _ => StoredType::F16,
    })
}

fn takes_blocks(component: Component, name: &str, shape: &[usize]) -> bool {
    let kept = |part: &&str| name.starts_with(*part) || name.ends_with(*part);
    component != Component::Vae
        && shape.len() == 2
        && name.ends_with(".weight")
        && !KEPT.iter().any(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(name: &str, shape: &[usize], quantize: Quantize) -> StoredType {
        super::choose(Component::Flux, name, StoredType::F32, shape, quantize)
    }

    #[test]
    fn matrices_take_blocks_and_the_rest_does_not() {
        let q8_0 = |name, shape: &[usize]| choose(name, shape, Quantize::Q8_0);
        let lin = "double_blocks.0.img_mod.lin.weight";
        assert_eq!(q8_0(lin, &[64, 64]), StoredType::Q8_0);
        assert_eq!(q8_0(lin, &[64, 48]), StoredType::F16);
        assert_eq!(q8_0(lin, &[64, 0]), StoredType::F16);
        assert_eq!(q8_0("conv.weight", &[64, 32, 3, 32]), StoredType::F16);
        assert_eq!(q8_0("norm.weight", &[64]), StoredType::F32);
        assert_eq!(q8_0("img_mlp.0.bias", &[64]), StoredType::F32);
    }

    #[test]
    fn what_is_small_and_feeds_everything_stays_out_of_blocks() {
        for name in [
            "img_in.weight",
            "txt_in.weight",
            "time_in.in_layer.weight",
            "vector_in.out_layer.weight",
            "guidance_in.in_layer.weight",
            "final_layer.adaLN_modulation.1.weight",
            "visual.patch_embed.proj.weight",
            "vision_model.embeddings.patch_embedding.weight",
            "vpm.embeddings.patch_embedding.weight",
            "vpm.embeddings.position_embedding.weight",
            "apm.embed_positions.weight",
            "t5stack.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ] {
            let q4_k =
                |stored| super::choose(Component::Flux, name, stored, &[256, 256], Quantize::Q4K);
            assert_eq!(q4_k(StoredType::F32), StoredType::F16, "{name}");
            assert_eq!(q4_k(StoredType::BF16), StoredType::BF16, "{name}");
        }
        let q = "decoder.mid.attn_1.q.weight";
        let vae = super::choose(
            Component::Vae,
            q,
            StoredType::F32,
            &[64, 64],
            Quantize::Q8_0,
        );
        assert_eq!(vae, StoredType::F16);
    }

    #[test]
    fn rows_that_blocks_of_256_do_not_divide_take_q8_0() {
        let q4_k = |row| choose("img_mlp.0.weight", &[8, row], Quantize::Q4K);
        assert_eq!(q4_k(512), StoredType::Q4K);
        assert_eq!(q4_k(320), StoredType::Q8_0);
        assert_eq!(q4_k(300), StoredType::F16);
    }

    #[test]
    fn none_keeps_what_gguf_can_hold() {
        let none = |stored| {
            super::choose(
                Component::Flux,
                "a.weight",
                stored,
                &[2, 256],
                Quantize::None,
            )
        };
        for kept in [
            StoredType::F32,
            StoredType::F16,
            StoredType::BF16,
            StoredType::Q4_0,
            StoredType::Q6K,
            StoredType::I64,
        ] {
            assert_eq!(none(kept), kept);
        }
        assert_eq!(none(StoredType::F64), StoredType::F32);
        assert_eq!(none(StoredType::F8E4M3), StoredType::F16, "exact");
    }
}
