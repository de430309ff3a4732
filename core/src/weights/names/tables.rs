//! The tables of foreign names beside ours.
//!
//! Each name is written out, so that a search finds it from either side. Left out: how the
//! placeholders are matched and what happens to the values (the parent module).

/// A foreign name, our name. `N` and `M` stand for numbers, `R` for the number `N` counted from
/// the other end of the decoder's blocks, `*` for `weight` or `bias`.
pub(super) type Row = (&'static str, &'static str);

/// FLUX as diffusers names it.
pub(super) const FLUX: &[Row] = &[
    ("x_embedder.*", "img_in.*"),
    ("context_embedder.*", "txt_in.*"),
    (
        "time_text_embed.timestep_embedder.linear_1.*",
        "time_in.in_layer.*",
    ),
    (
        "time_text_embed.timestep_embedder.linear_2.*",
        "time_in.out_layer.*",
    ),
    (
        "time_text_embed.text_embedder.linear_1.*",
        "vector_in.in_layer.*",
    ),
    (
        "time_text_embed.text_embedder.linear_2.*",
        "vector_in.out_layer.*",
    ),
    (
        "time_text_embed.guidance_embedder.linear_1.*",
        "guidance_in.in_layer.*",
    ),
    (
        "time_text_embed.guidance_embedder.linear_2.*",
        "guidance_in.out_layer.*",
    ),
    (
        "transformer_blocks.N.norm1.linear.*",
        "double_blocks.N.img_mod.lin.*",
    ),
    (
        "transformer_blocks.N.norm1_context.linear.*",
        "double_blocks.N.txt_mod.lin.*",
    ),
    (
        "transformer_blocks.N.attn.norm_q.weight",
        "double_blocks.N.img_attn.norm.query_norm.scale",
    ),
    (
        "transformer_blocks.N.attn.norm_k.weight",
        "double_blocks.N.img_attn.norm.key_norm.scale",
    ),
    (
        "transformer_blocks.N.attn.norm_added_q.weight",
        "double_blocks.N.txt_attn.norm.query_norm.scale",
    ),
    (
        "transformer_blocks.N.attn.norm_added_k.weight",
        "double_blocks.N.txt_attn.norm.key_norm.scale",
    ),
    (
        "transformer_blocks.N.attn.to_out.0.*",
        "double_blocks.N.img_attn.proj.*",
    ),
    (
        "transformer_blocks.N.attn.to_add_out.*",
        "double_blocks.N.txt_attn.proj.*",
    ),
    (
        "transformer_blocks.N.ff.net.0.proj.*",
        "double_blocks.N.img_mlp.0.*",
    ),
    (
        "transformer_blocks.N.ff.net.2.*",
        "double_blocks.N.img_mlp.2.*",
    ),
    (
        "transformer_blocks.N.ff_context.net.0.proj.*",
        "double_blocks.N.txt_mlp.0.*",
    ),
    (
        "transformer_blocks.N.ff_context.net.2.*",
        "double_blocks.N.txt_mlp.2.*",
    ),
    (
        "single_transformer_blocks.N.norm.linear.*",
        "single_blocks.N.modulation.lin.*",
    ),
    (
        "single_transformer_blocks.N.attn.norm_q.weight",
        "single_blocks.N.norm.query_norm.scale",
    ),
    (
        "single_transformer_blocks.N.attn.norm_k.weight",
        "single_blocks.N.norm.key_norm.scale",
    ),
    (
        "single_transformer_blocks.N.proj_out.*",
        "single_blocks.N.linear2.*",
    ),
    ("norm_out.linear.*", FLUX_FINAL_MODULATION),
    ("proj_out.*", "final_layer.linear.*"),
];

/// The one FLUX tensor whose halves diffusers swaps.
pub(super) const FLUX_FINAL_MODULATION: &str = "final_layer.adaLN_modulation.1.*";

/// The foreign names of the pieces in the order of joining, our name.
pub(super) type JoinedRow = (&'static [&'static str], &'static str);

/// FLUX tensors that diffusers keeps apart.
pub(super) const FLUX_JOINED: &[JoinedRow] = &[
    (
        &[
            "transformer_blocks.N.attn.to_q.*",
            "transformer_blocks.N.attn.to_k.*",
            "transformer_blocks.N.attn.to_v.*",
        ],
        "double_blocks.N.img_attn.qkv.*",
    ),
    (
        &[
            "transformer_blocks.N.attn.add_q_proj.*",
            "transformer_blocks.N.attn.add_k_proj.*",
            "transformer_blocks.N.attn.add_v_proj.*",
        ],
        "double_blocks.N.txt_attn.qkv.*",
    ),
    (
        &[
            "single_transformer_blocks.N.attn.to_q.*",
            "single_transformer_blocks.N.attn.to_k.*",
            "single_transformer_blocks.N.attn.to_v.*",
            "single_transformer_blocks.N.proj_mlp.*",
        ],
        "single_blocks.N.linear1.*",
    ),
];

/// The autoencoder as diffusers names it, the encoder's and the decoder's own parts. BFL's
/// decoder counts its blocks from the shallowest, diffusers' from the deepest.
pub(super) const VAE: &[Row] = &[
    (
        "encoder.down_blocks.N.resnets.M.conv_shortcut.*",
        "encoder.down.N.block.M.nin_shortcut.*",
    ),
    (
        "encoder.down_blocks.N.resnets.M.norm1.*",
        "encoder.down.N.block.M.norm1.*",
    ),
    (
        "encoder.down_blocks.N.resnets.M.conv1.*",
        "encoder.down.N.block.M.conv1.*",
    ),
    (
        "encoder.down_blocks.N.resnets.M.norm2.*",
        "encoder.down.N.block.M.norm2.*",
    ),
    (
        "encoder.down_blocks.N.resnets.M.conv2.*",
        "encoder.down.N.block.M.conv2.*",
    ),
    (
        "encoder.down_blocks.N.downsamplers.0.conv.*",
        "encoder.down.N.downsample.conv.*",
    ),
    (
        "decoder.up_blocks.N.resnets.M.conv_shortcut.*",
        "decoder.up.R.block.M.nin_shortcut.*",
    ),
    (
        "decoder.up_blocks.N.resnets.M.norm1.*",
        "decoder.up.R.block.M.norm1.*",
    ),
    (
        "decoder.up_blocks.N.resnets.M.conv1.*",
        "decoder.up.R.block.M.conv1.*",
    ),
    (
        "decoder.up_blocks.N.resnets.M.norm2.*",
        "decoder.up.R.block.M.norm2.*",
    ),
    (
        "decoder.up_blocks.N.resnets.M.conv2.*",
        "decoder.up.R.block.M.conv2.*",
    ),
    (
        "decoder.up_blocks.N.upsamplers.0.conv.*",
        "decoder.up.R.upsample.conv.*",
    ),
];

/// What encoder and decoder have in common, after `encoder.` or `decoder.`.
pub(super) const VAE_HALF: &[Row] = &[
    ("conv_in.*", "conv_in.*"),
    ("conv_out.*", "conv_out.*"),
    ("conv_norm_out.*", "norm_out.*"),
    ("mid_block.resnets.0.norm1.*", "mid.block_1.norm1.*"),
    ("mid_block.resnets.0.conv1.*", "mid.block_1.conv1.*"),
    ("mid_block.resnets.0.norm2.*", "mid.block_1.norm2.*"),
    ("mid_block.resnets.0.conv2.*", "mid.block_1.conv2.*"),
    ("mid_block.resnets.1.norm1.*", "mid.block_2.norm1.*"),
    ("mid_block.resnets.1.conv1.*", "mid.block_2.conv1.*"),
    ("mid_block.resnets.1.norm2.*", "mid.block_2.norm2.*"),
    ("mid_block.resnets.1.conv2.*", "mid.block_2.conv2.*"),
    ("mid_block.attentions.0.group_norm.*", "mid.attn_1.norm.*"),
    ("mid_block.attentions.0.to_q.*", "mid.attn_1.q.*"),
    ("mid_block.attentions.0.to_k.*", "mid.attn_1.k.*"),
    ("mid_block.attentions.0.to_v.*", "mid.attn_1.v.*"),
    ("mid_block.attentions.0.to_out.0.*", "mid.attn_1.proj_out.*"),
    ("mid_block.attentions.0.query.*", "mid.attn_1.q.*"),
    ("mid_block.attentions.0.key.*", "mid.attn_1.k.*"),
    ("mid_block.attentions.0.value.*", "mid.attn_1.v.*"),
    (
        "mid_block.attentions.0.proj_attn.*",
        "mid.attn_1.proj_out.*",
    ),
];

/// InternVL's vision tower and projector as transformers names them, after what it puts in front.
pub(super) const INTERN_HF: &[Row] = &[
    (
        "vision_tower.embeddings.cls_token",
        "vision_model.embeddings.class_embedding",
    ),
    (
        "vision_tower.embeddings.position_embeddings",
        "vision_model.embeddings.position_embedding",
    ),
    (
        "vision_tower.embeddings.patch_embeddings.projection.*",
        "vision_model.embeddings.patch_embedding.*",
    ),
    (
        "vision_tower.encoder.layer.N.layernorm_before.*",
        "vision_model.encoder.layers.N.norm1.*",
    ),
    (
        "vision_tower.encoder.layer.N.layernorm_after.*",
        "vision_model.encoder.layers.N.norm2.*",
    ),
    (
        "vision_tower.encoder.layer.N.lambda_1",
        "vision_model.encoder.layers.N.ls1",
    ),
    (
        "vision_tower.encoder.layer.N.lambda_2",
        "vision_model.encoder.layers.N.ls2",
    ),
    (
        "vision_tower.encoder.layer.N.attention.projection_layer.*",
        "vision_model.encoder.layers.N.attn.proj.*",
    ),
    (
        "vision_tower.encoder.layer.N.attention.q_norm.weight",
        "vision_model.encoder.layers.N.attn.q_norm.weight",
    ),
    (
        "vision_tower.encoder.layer.N.attention.k_norm.weight",
        "vision_model.encoder.layers.N.attn.k_norm.weight",
    ),
    (
        "vision_tower.encoder.layer.N.mlp.fc1.*",
        "vision_model.encoder.layers.N.mlp.fc1.*",
    ),
    (
        "vision_tower.encoder.layer.N.mlp.fc2.*",
        "vision_model.encoder.layers.N.mlp.fc2.*",
    ),
    ("multi_modal_projector.layer_norm.*", "mlp1.0.*"),
    ("multi_modal_projector.linear_1.*", "mlp1.1.*"),
    ("multi_modal_projector.linear_2.*", "mlp1.3.*"),
];

/// Tensors of its vision tower that transformers keeps apart.
pub(super) const INTERN_HF_JOINED: &[JoinedRow] = &[(
    &[
        "vision_tower.encoder.layer.N.attention.q_proj.*",
        "vision_tower.encoder.layer.N.attention.k_proj.*",
        "vision_tower.encoder.layer.N.attention.v_proj.*",
    ],
    "vision_model.encoder.layers.N.attn.qkv.*",
)];

/// Qwen2.5-VL as llama.cpp names it: the language model, then the vision tower.
pub(super) const QWEN_GGUF: &[Row] = &[
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
    (
        "blk.N.attn_norm.weight",
        "model.layers.N.input_layernorm.weight",
    ),
    ("blk.N.attn_q.*", "model.layers.N.self_attn.q_proj.*"),
    ("blk.N.attn_k.*", "model.layers.N.self_attn.k_proj.*"),
    ("blk.N.attn_v.*", "model.layers.N.self_attn.v_proj.*"),
    ("blk.N.attn_output.*", "model.layers.N.self_attn.o_proj.*"),
    (
        "blk.N.ffn_norm.weight",
        "model.layers.N.post_attention_layernorm.weight",
    ),
    (
        "blk.N.ffn_gate.weight",
        "model.layers.N.mlp.gate_proj.weight",
    ),
    ("blk.N.ffn_up.weight", "model.layers.N.mlp.up_proj.weight"),
    (
        "blk.N.ffn_down.weight",
        "model.layers.N.mlp.down_proj.weight",
    ),
    ("v.blk.N.ln1.weight", "visual.blocks.N.norm1.weight"),
    ("v.blk.N.ln2.weight", "visual.blocks.N.norm2.weight"),
    ("v.blk.N.attn_out.*", "visual.blocks.N.attn.proj.*"),
    ("v.blk.N.ffn_gate.*", "visual.blocks.N.mlp.gate_proj.*"),
    ("v.blk.N.ffn_up.*", "visual.blocks.N.mlp.up_proj.*"),
    ("v.blk.N.ffn_down.*", "visual.blocks.N.mlp.down_proj.*"),
    ("v.blk.N.attn_qkv.*", "visual.blocks.N.attn.qkv.*"),
    ("v.post_ln.weight", "visual.merger.ln_q.weight"),
    ("mm.0.*", "visual.merger.mlp.0.*"),
    ("mm.2.*", "visual.merger.mlp.2.*"),
];

/// Tensors of the vision tower that llama.cpp keeps apart.
pub(super) const QWEN_GGUF_JOINED: &[JoinedRow] = &[(
    &["v.blk.N.attn_q.*", "v.blk.N.attn_k.*", "v.blk.N.attn_v.*"],
    "visual.blocks.N.attn.qkv.*",
)];

/// The patch embedding: a convolution over two frames, which llama.cpp splits into two.
pub(super) const QWEN_GGUF_PATCHES: ([&str; 2], &str) = (
    ["v.patch_embd.weight", "v.patch_embd.weight.1"],
    "visual.patch_embed.proj.weight",
);
