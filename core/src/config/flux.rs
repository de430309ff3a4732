//! The FLUX transformer's config (diffusers `transformer/config.json`).

use serde::{Deserialize, Serialize};

use super::checks::{check, check_sizes};
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

impl FluxConfig {
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
