//! The FLUX transformer's config (diffusers `transformer/config.json`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::{check, check_sizes, from_value};
use super::keys::{Key, check_class, check_keys};
use super::limits::{HEAD_WIDTH, HEADS, LAYERS, WIDTH, check_limits};
use crate::error::Result;

/// Sizes of a FLUX transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FluxConfig {
    /// Channels of a packed latent token: 16 latent channels x 2 x 2.
    pub in_channels: usize,
    /// Double-stream blocks.
    pub num_layers: usize,
    /// Single-stream blocks.
    pub num_single_layers: usize,
    /// Width of one attention head.
    pub attention_head_dim: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width of a text token as T5 (or AlignNet) gives it.
    pub joint_attention_dim: usize,
    /// Width of the pooled text vector as CLIP (or AlignNet) gives it.
    pub pooled_projection_dim: usize,
    /// True for the guidance-distilled FLUX.1-dev.
    #[serde(default)]
    pub guidance_embeds: bool,
    /// Rotary channels for the ids (always 0, row, column); they add up to the head's width.
    #[serde(default = "default_axes")]
    pub axes_dims_rope: Vec<usize>,
}

fn default_axes() -> Vec<usize> {
    vec![16, 56, 56]
}

/// The keys of `transformer/config.json`.
const KEYS: &[(&str, Key)] = &[
    ("_class_name", Key::Read),
    ("_diffusers_version", Key::Idle),
    ("_name_or_path", Key::Idle),
    ("in_channels", Key::Read),
    ("num_layers", Key::Read),
    ("num_single_layers", Key::Read),
    ("attention_head_dim", Key::Read),
    ("num_attention_heads", Key::Read),
    ("joint_attention_dim", Key::Read),
    ("pooled_projection_dim", Key::Read),
    ("guidance_embeds", Key::Read),
    ("axes_dims_rope", Key::Read),
    ("out_channels", Key::Read),
    ("patch_size", Key::Number(1.0)),
    // The tensors themselves tell.
    ("quantization_config", Key::Idle),
];

impl FluxConfig {
    /// Reads a published `transformer/config.json`; keys that are not known go to `warnings`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming what is not computed here.
    pub(crate) fn read(file: &str, json: Value, warnings: &mut Vec<String>) -> Result<Self> {
        check_class(
            file,
            &json,
            "FluxTransformer2DModel",
            "FLUX.1's transformer",
        )?;
        check_keys(file, "", &json, &[KEYS], warnings)?;
        let out = json
            .get("out_channels")
            .filter(|out| !out.is_null())
            .cloned();
        let config: Self = from_value(file, json)?;
        config.validate(file)?;
        let same = out
            .as_ref()
            .is_none_or(|out| out.as_u64() == Some(config.in_channels as u64));
        check(file, same, || {
            let out = out.unwrap_or_default();
            format!(
                "out_channels {out} differs from in_channels {}, as in FLUX.1 Fill, Canny and Depth, which \
                 are not supported",
                config.in_channels
            )
        })?;
        Ok(config)
    }

    /// Width of the residual streams.
    pub fn hidden_size(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Width inside an MLP.
    pub fn mlp_size(&self) -> usize {
        4 * self.hidden_size()
    }

    /// False for a layer of a block, or of guidance, that this transformer does not have; layers are called as
    /// in BFL's checkpoints (`double_blocks.0.img_attn.qkv`).
    pub fn has_layer(&self, layer: &str) -> bool {
        let block = |kind| {
            let (index, _) = layer.strip_prefix(kind)?.split_once('.')?;
            index.parse::<usize>().ok()
        };
        match (block("double_blocks."), block("single_blocks.")) {
            (Some(index), _) => index < self.num_layers,
            (_, Some(index)) => index < self.num_single_layers,
            _ => self.guidance_embeds || !layer.starts_with("guidance_in."),
        }
    }

    /// Checks what the graph relies on.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first number that can't be.
    pub fn validate(&self, file: &str) -> Result<()> {
        let sizes = [
            ("in_channels", self.in_channels),
            ("attention_head_dim", self.attention_head_dim),
            ("num_attention_heads", self.num_attention_heads),
            ("joint_attention_dim", self.joint_attention_dim),
            ("pooled_projection_dim", self.pooled_projection_dim),
        ];
        check_sizes(file, "", &sizes)?;
        let limits = [
            ("in_channels", self.in_channels, WIDTH),
            ("num_layers", self.num_layers, LAYERS),
            ("num_single_layers", self.num_single_layers, LAYERS),
            ("attention_head_dim", self.attention_head_dim, HEAD_WIDTH),
            ("num_attention_heads", self.num_attention_heads, HEADS),
            ("joint_attention_dim", self.joint_attention_dim, WIDTH),
            ("pooled_projection_dim", self.pooled_projection_dim, WIDTH),
        ];
        check_limits(file, "", &limits)?;
        let axes = self.axes_dims_rope.iter();
        let axes: Vec<_> = axes
            .map(|&axis| ("axes_dims_rope", axis, HEAD_WIDTH))
            .collect();
        check_limits(file, "", &axes)?;
        check(file, self.in_channels.is_multiple_of(4), || {
            format!(
                "in_channels {} is not 4 x latent channels",
                self.in_channels
            )
        })?;
        check(
            file,
            self.axes_dims_rope.len() == 3 && self.axes_dims_rope.iter().all(|axis| axis % 2 == 0),
            || {
                format!(
                    "axes_dims_rope {:?} must be three even numbers",
                    self.axes_dims_rope
                )
            },
        )?;
        check(
            file,
            self.axes_dims_rope.iter().sum::<usize>() == self.attention_head_dim,
            || {
                format!(
                    "axes_dims_rope {:?} must add up to attention_head_dim {}",
                    self.axes_dims_rope, self.attention_head_dim
                )
            },
        )
    }
}
