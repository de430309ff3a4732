//! Keys of LoRA files that change something else than the transformer, and keys of kinds of changes that are
//! not read.

/// What a key changes in place of the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// CLIP or T5 of the original FLUX, in whose place AlignNet stands here.
    TextEncoder,
    /// New words of CLIP and T5.
    Embedding,
}

/// What a key changes in place of the transformer, if it does.
pub(crate) fn beside(key: &str) -> Option<Beside> {
    const ENCODERS: &[&str] = &[
        "lora_te",
        "lora_prior_te",
        "lycoris_te",
        "text_encoder",
        "text_model.",
        "te1.",
        "te2.",
        "clip_l.",
        "clip_g.",
        "t5xxl.",
        "conditioner.",
        "cond_stage_model.",
    ];
    const EMBEDDINGS: &[&str] = &["bundle_emb.", "string_to_param."];
    const WORDS: &[&str] = &["emb_params", "clip_l", "clip_g", "t5", "t5xxl"];
    let key = key.strip_prefix("base_model.model.").unwrap_or(key);
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| key.starts_with(prefix));
    if WORDS.contains(&key) || begins(EMBEDDINGS) {
        return Some(Beside::Embedding);
    }
    begins(ENCODERS).then_some(Beside::TextEncoder)
}

/// The kind of change that a key belongs to, where that kind is not read.
pub(crate) fn unread_kind(key: &str) -> Option<&'static str> {
    const KINDS: &[(&str, &str)] = &[
        (".oft_", "OFT"),
        (".boft_", "BOFT"),
        (".a1.weight", "GLoRA"),
        (".a2.weight", "GLoRA"),
        (".b1.weight", "GLoRA"),
        (".b2.weight", "GLoRA"),
        (".on_input", "IA3"),
        (".ia3_l", "IA3"),
        (".vera_lambda_", "VeRA"),
        (".modules_to_save.", "whole layers (`modules_to_save`)"),
        (".lora_embedding_", "a LoRA of embeddings"),
        (".bias_indices", "sparse biases"),
        (".bias_values", "sparse biases"),
        (".bias_size", "sparse biases"),
        ("ip_adapter", "an IP-Adapter"),
        ("_ip.", "an IP-Adapter"),
        ("controlnet_", "a ControlNet"),
    ];
    let found = KINDS.iter().find(|(part, _)| key.contains(part));
    found.map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_clip_and_t5_is_told_from_the_transformer() {
        for key in [
            "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
            "lora_te2_encoder_block_0.lora_down.weight",
            "text_encoder_2.encoder.block.0.lora_A.weight",
            "text_encoders.clip_l.transformer.text_model.a.lora_up.weight",
            "base_model.model.text_model.encoder.layers.0.lora_A.weight",
        ] {
            assert_eq!(beside(key), Some(Beside::TextEncoder), "{key}");
        }
        for key in ["emb_params", "bundle_emb.cat.t5_out", "clip_l", "t5"] {
            assert_eq!(beside(key), Some(Beside::Embedding), "{key}");
        }
        for key in ["transformer.norm_out.linear.alpha", "txt_in.alpha", ""] {
            assert_eq!(beside(key), None, "{key}");
        }
    }

    #[test]
    fn unread_kinds_have_names() {
        let glora = "lora_unet_double_blocks_0_img_mlp_0.a1.weight";
        assert_eq!(unread_kind(glora), Some("GLoRA"));
        assert_eq!(unread_kind("x.oft_blocks"), Some("OFT"));
        assert_eq!(unread_kind("x.lora_A.weight"), None);
    }
}
