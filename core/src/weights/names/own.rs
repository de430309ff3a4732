//! The names that our models have beside the tables of translation, and names of which we know
//! that they change nothing, or whose they are.

use super::component::Component;
use super::teacher;

/// A decoder of Qwen2's kind.
pub(super) const QWEN2: &[&str] = &[
    "model.embed_tokens.weight",
    "model.layers.N.input_layernorm.weight",
    "model.layers.N.post_attention_layernorm.weight",
    "model.layers.N.self_attn.q_proj.*",
    "model.layers.N.self_attn.k_proj.*",
    "model.layers.N.self_attn.v_proj.*",
    "model.layers.N.self_attn.o_proj.weight",
    "model.layers.N.mlp.gate_proj.weight",
    "model.layers.N.mlp.up_proj.weight",
    "model.layers.N.mlp.down_proj.weight",
    "model.norm.weight",
    "lm_head.weight",
];

/// Qwen2.5-VL's vision tower.
pub(super) const QWEN_VISION: &[&str] = &[
    "visual.patch_embed.proj.weight",
    "visual.blocks.N.norm1.weight",
    "visual.blocks.N.norm2.weight",
    "visual.blocks.N.attn.qkv.*",
    "visual.blocks.N.attn.proj.*",
    "visual.blocks.N.mlp.gate_proj.*",
    "visual.blocks.N.mlp.up_proj.*",
    "visual.blocks.N.mlp.down_proj.*",
    "visual.merger.ln_q.weight",
    "visual.merger.mlp.0.*",
    "visual.merger.mlp.2.*",
];

/// InternVL2.5's vision tower and projector.
pub(super) const INTERN_VISION: &[&str] = &[
    "vision_model.embeddings.class_embedding",
    "vision_model.embeddings.position_embedding",
    "vision_model.embeddings.patch_embedding.*",
    "vision_model.encoder.layers.N.norm1.*",
    "vision_model.encoder.layers.N.norm2.*",
    "vision_model.encoder.layers.N.ls1",
    "vision_model.encoder.layers.N.ls2",
    "vision_model.encoder.layers.N.attn.qkv.*",
    "vision_model.encoder.layers.N.attn.proj.*",
    "vision_model.encoder.layers.N.attn.q_norm.weight",
    "vision_model.encoder.layers.N.attn.k_norm.weight",
    "vision_model.encoder.layers.N.mlp.fc1.*",
    "vision_model.encoder.layers.N.mlp.fc2.*",
    "mlp1.0.*",
    "mlp1.1.*",
    "mlp1.3.*",
];

/// MiniCPM-o's senses.
pub(super) const MINICPM_SENSES: &[&str] = &[
    "vpm.embeddings.patch_embedding.*",
    "vpm.embeddings.position_embedding.weight",
    "vpm.encoder.layers.N.layer_norm1.*",
    "vpm.encoder.layers.N.layer_norm2.*",
    "vpm.encoder.layers.N.self_attn.q_proj.*",
    "vpm.encoder.layers.N.self_attn.k_proj.*",
    "vpm.encoder.layers.N.self_attn.v_proj.*",
    "vpm.encoder.layers.N.self_attn.out_proj.*",
    "vpm.encoder.layers.N.mlp.fc1.*",
    "vpm.encoder.layers.N.mlp.fc2.*",
    "vpm.post_layernorm.*",
    "resampler.query",
    "resampler.proj",
    "resampler.kv_proj.weight",
    "resampler.attn.in_proj_weight",
    "resampler.attn.in_proj_bias",
    "resampler.attn.out_proj.*",
    "resampler.ln_q.*",
    "resampler.ln_kv.*",
    "resampler.ln_post.*",
    "apm.conv1.*",
    "apm.conv2.*",
    "apm.embed_positions.weight",
    "apm.layers.N.self_attn.q_proj.*",
    "apm.layers.N.self_attn.k_proj.weight",
    "apm.layers.N.self_attn.v_proj.*",
    "apm.layers.N.self_attn.out_proj.*",
    "apm.layers.N.self_attn_layer_norm.*",
    "apm.layers.N.fc1.*",
    "apm.layers.N.fc2.*",
    "apm.layers.N.final_layer_norm.*",
    "apm.layer_norm.*",
    "audio_projection_layer.linear1.*",
    "audio_projection_layer.linear2.*",
];

/// The reference's `Proj7Exp`.
pub(super) const ALIGN_NET: &[&str] = &[
    "cha_scale",
    "conv.*",
    "mlp.layernorm.*",
    "mlp.projector.0.weight",
    "mlp.projector.2.weight",
    "mlp.fc.1.*",
    "t5stack.block.N.layer.0.SelfAttention.q.weight",
    "t5stack.block.N.layer.0.SelfAttention.k.weight",
    "t5stack.block.N.layer.0.SelfAttention.v.weight",
    "t5stack.block.N.layer.0.SelfAttention.o.weight",
    "t5stack.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "t5stack.block.N.layer.0.layer_norm.weight",
    "t5stack.block.N.layer.1.DenseReluDense.wi_0.weight",
    "t5stack.block.N.layer.1.DenseReluDense.wi_1.weight",
    "t5stack.block.N.layer.1.DenseReluDense.wo.weight",
    "t5stack.block.N.layer.1.layer_norm.weight",
    "t5stack.final_layer_norm.weight",
];

/// The reference's list of `ControlNeXtModel`s.
pub(super) const LIGHT_CONTROL: &[&str] = &[
    "N.time_embedding.linear_1.*",
    "N.time_embedding.linear_2.*",
    "N.embedding.M.*",
    "N.down_res.M.norm1.*",
    "N.down_res.M.conv1.*",
    "N.down_res.M.time_emb_proj.*",
    "N.down_res.M.norm2.*",
    "N.down_res.M.conv2.*",
    "N.down_res.M.conv_shortcut.*",
    "N.down_sample.M.conv.*",
    "N.mid_convs.0.M.*",
    "N.mid_convs.1.*",
];

/// Endings of tensors that a part's own code fills in or passes over: tables that follow from the
/// config, and counters of training.
const HARMLESS: &[&str] = &[
    "rotary_emb.inv_freq",
    "rotary_pos_emb.inv_freq",
    "position_ids",
    "num_batches_tracked",
    // A fixed table of sines.
    "resampler.pos_embed",
    // The stack is given embeddings.
    "t5stack.embed_tokens.weight",
];

/// True for an own name that changes nothing.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|ending| name.ends_with(ending))
}

/// What names of the other parts of all-in-one files begin with.
const FOREIGN: &[&str] = &[
    "text_encoders.",
    "text_encoder.",
    "text_encoder_2.",
    "text_model.",
    "cond_stage_model.",
    "conditioner.",
    "clip_l.",
    "clip_g.",
    "t5xxl.",
    "logit_scale",
];

/// True for a name of another part that may stand in the same file.
pub(super) fn is_foreign(component: Component, name: &str) -> bool {
    let others: &[&str] = match component {
        Component::Flux => &["first_stage_model.", "vae.", "encoder.", "decoder."],
        // Its training's discriminator is `loss.`.
        Component::Vae => &[
            "model.diffusion_model.",
            "diffusion_model.",
            "double_blocks.",
            "single_blocks.",
            "loss.",
        ],
        Component::MiniCpmO => &["tts."],
        Component::T5 => teacher::BESIDE_T5,
        Component::ClipText => teacher::BESIDE_CLIP,
        _ => &[],
    };
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if matches!(component, Component::T5 | Component::ClipText) {
        return begins(others);
    }
    begins(others) || begins(FOREIGN)
}

/// Parts of names by which other models are known, and what to say of them.
const OTHER_MODELS: &[(&str, &str)] = &[
    (
        "distilled_guidance_layer.",
        "Chroma, which is another transformer than FLUX.1",
    ),
    (
        "nerf_",
        "Chroma Radiance, which is another transformer than FLUX.1",
    ),
    (
        "double_stream_modulation",
        "FLUX.2, which is another transformer than FLUX.1",
    ),
    (
        "single_stream_modulation",
        "FLUX.2, which is another transformer than FLUX.1",
    ),
    (
        "redux_",
        "FLUX.1 Redux, which is an adapter for pictures and no transformer; pictures are read by \
         the multimodal LLM here",
    ),
    (
        "image_embedder.",
        "FLUX.1 Redux, which is an adapter for pictures and no transformer",
    ),
    ("controlnet_", "a ControlNet, which is no transformer"),
    ("input_hint_block.", "a ControlNet, which is no transformer"),
    ("pulid_", "PuLID, which is an adapter and no transformer"),
    ("ip_adapter", "an IP-Adapter, which is no transformer"),
    ("lora_", "a LoRA, which goes beside a transformer"),
    (".lora", "a LoRA, which goes beside a transformer"),
    (
        "joint_blocks.",
        "Stable Diffusion 3, which is another transformer than FLUX.1",
    ),
    (
        "input_blocks.",
        "a U-Net of Stable Diffusion, not a FLUX.1 transformer",
    ),
    (
        "down_blocks.",
        "a U-Net of Stable Diffusion, not a FLUX.1 transformer",
    ),
    (
        "img_mod.1.",
        "Qwen-Image, which is another transformer than FLUX.1",
    ),
    (
        "individual_token_refiner",
        "HunyuanVideo, which is another transformer than FLUX.1",
    ),
    (
        "noise_refiner.",
        "Lumina or Z-Image, which are other transformers than FLUX.1",
    ),
    (
        "patch_embedding.",
        "Wan, which is another transformer than FLUX.1",
    ),
];

/// Which other model a name of no part of FLUX's transformer tells.
pub(super) fn other_model(component: Component, name: &str) -> Option<&'static str> {
    if component != Component::Flux {
        return None;
    }
    let told = |(part, model): &(&str, &'static str)| name.contains(part).then_some(*model);
    OTHER_MODELS.iter().find_map(told)
}
