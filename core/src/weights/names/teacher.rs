//! The names of FLUX.1's text encoders. Ours are transformers'; llama.cpp's of T5 are read, and what
//! all-in-one files put in front of both.

use super::tables::Row;

/// T5's encoder.
pub(super) const T5: &[&str] = &[
    "shared.weight",
    "encoder.block.N.layer.0.SelfAttention.q.weight",
    "encoder.block.N.layer.0.SelfAttention.k.weight",
    "encoder.block.N.layer.0.SelfAttention.v.weight",
    "encoder.block.N.layer.0.SelfAttention.o.weight",
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    "encoder.block.N.layer.0.layer_norm.weight",
    "encoder.block.N.layer.1.DenseReluDense.wi_0.weight",
    "encoder.block.N.layer.1.DenseReluDense.wi_1.weight",
    "encoder.block.N.layer.1.DenseReluDense.wo.weight",
    "encoder.block.N.layer.1.layer_norm.weight",
    "encoder.final_layer_norm.weight",
];

/// The embedding's other name. Some files hold it under both.
pub(super) const T5_TIED: &str = "encoder.embed_tokens.weight";

/// The embedding's names: ours, and llama.cpp's.
pub(super) const T5_EMBEDDING: [&str; 2] = ["shared.weight", "token_embd.weight"];

/// T5's encoder as llama.cpp names it.
pub(super) const T5_GGUF: &[Row] = &[
    ("token_embd.weight", "shared.weight"),
    ("enc.output_norm.weight", "encoder.final_layer_norm.weight"),
    (
        "enc.blk.N.attn_q.weight",
        "encoder.block.N.layer.0.SelfAttention.q.weight",
    ),
    (
        "enc.blk.N.attn_k.weight",
        "encoder.block.N.layer.0.SelfAttention.k.weight",
    ),
    (
        "enc.blk.N.attn_v.weight",
        "encoder.block.N.layer.0.SelfAttention.v.weight",
    ),
    (
        "enc.blk.N.attn_o.weight",
        "encoder.block.N.layer.0.SelfAttention.o.weight",
    ),
    (
        "enc.blk.0.attn_rel_b.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    (
        "enc.blk.N.attn_norm.weight",
        "encoder.block.N.layer.0.layer_norm.weight",
    ),
    (
        "enc.blk.N.ffn_gate.weight",
        "encoder.block.N.layer.1.DenseReluDense.wi_0.weight",
    ),
    (
        "enc.blk.N.ffn_up.weight",
        "encoder.block.N.layer.1.DenseReluDense.wi_1.weight",
    ),
    (
        "enc.blk.N.ffn_down.weight",
        "encoder.block.N.layer.1.DenseReluDense.wo.weight",
    ),
    (
        "enc.blk.N.ffn_norm.weight",
        "encoder.block.N.layer.1.layer_norm.weight",
    ),
];

/// CLIP's text model.
pub(super) const CLIP_TEXT: &[&str] = &[
    "text_model.embeddings.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight",
    "text_model.encoder.layers.N.layer_norm1.*",
    "text_model.encoder.layers.N.layer_norm2.*",
    "text_model.encoder.layers.N.self_attn.q_proj.*",
    "text_model.encoder.layers.N.self_attn.k_proj.*",
    "text_model.encoder.layers.N.self_attn.v_proj.*",
    "text_model.encoder.layers.N.self_attn.out_proj.*",
    "text_model.encoder.layers.N.mlp.fc1.*",
    "text_model.encoder.layers.N.mlp.fc2.*",
    "text_model.final_layer_norm.*",
];

/// What stands in front of T5's names in all-in-one files.
pub(super) const T5_PREFIXES: &[&str] = &[
    "module.",
    "text_encoders.t5xxl.transformer.",
    "t5xxl.transformer.",
    "text_encoder_2.",
];

/// What stands in front of CLIP's names in all-in-one files.
pub(super) const CLIP_PREFIXES: &[&str] = &[
    "module.",
    "text_encoders.clip_l.transformer.",
    "cond_stage_model.transformer.",
    "clip_l.transformer.",
    "text_encoder.",
];

/// What the names of others begin with that stand in T5's files: the decoder, the head, the tokenizer,
/// and the other parts of all-in-one files.
pub(super) const BESIDE_T5: &[&str] = &[
    "decoder.",
    "dec.",
    "lm_head.",
    "output.",
    "spiece_model",
    "text_encoders.",
    "text_encoder.",
    "text_model.",
    "clip_l.",
    "logit_scale",
    "model.diffusion_model.",
    "first_stage_model.",
    "vae.",
];

/// The same for CLIP: its vision half, its projections, and the other parts of all-in-one files.
pub(super) const BESIDE_CLIP: &[&str] = &[
    "text_projection",
    "vision_model.",
    "visual_projection.",
    "logit_scale",
    "text_encoders.",
    "text_encoder_2.",
    "t5xxl.",
    "model.diffusion_model.",
    "first_stage_model.",
    "vae.",
];
