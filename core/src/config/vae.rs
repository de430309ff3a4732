//! The autoencoder's config (diffusers `vae/config.json`).

use serde::{Deserialize, Serialize};

use super::checks::check;
use crate::error::Result;

/// Sizes of an AutoencoderKL in FLUX form: no quant convs, attention in the middle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VaeConfig {
    /// Channels of each resolution, the finest first.
    pub block_out_channels: Vec<usize>,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Resnets of an encoder level; a decoder level has one more.
    pub layers_per_block: usize,
    /// Groups of every GroupNorm.
    #[serde(default = "default_groups")]
    pub norm_num_groups: usize,
    /// Latents are multiplied by this after shifting.
    pub scaling_factor: f32,
    /// Subtracted from latents before scaling.
    #[serde(default, deserialize_with = "null_is_zero")]
    pub shift_factor: f32,
    /// True in Stable Diffusion's form, which we do not read.
    #[serde(default)]
    pub use_quant_conv: bool,
    /// True in Stable Diffusion's form, which we do not read.
    #[serde(default)]
    pub use_post_quant_conv: bool,
}

fn default_groups() -> usize {
    32
}

fn null_is_zero<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::<f32>::deserialize(deserializer)?.unwrap_or(0.0))
}

impl VaeConfig {
    /// Pixels of a latent's side: 8 for the four resolutions of FLUX.
    pub fn downsampling(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Checks what the graph relies on.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the first number that can't be.
    pub fn validate(&self, file: &str) -> Result<()> {
        check(
            file,
            (1..=8).contains(&self.block_out_channels.len()),
            || {
                format!(
                    "block_out_channels has {} levels, expected 1 to 8",
                    self.block_out_channels.len()
                )
            },
        )?;
        check(
            file,
            self.norm_num_groups > 0 && self.latent_channels > 0 && self.layers_per_block > 0,
            || "norm_num_groups, latent_channels and layers_per_block must be at least 1".into(),
        )?;
        for &channels in &self.block_out_channels {
            check(
                file,
                channels > 0 && channels % self.norm_num_groups == 0,
                || {
                    format!(
                        "{channels} channels can't be split into {} groups",
                        self.norm_num_groups
                    )
                },
            )?;
        }
        check(
            file,
            self.scaling_factor.is_finite()
                && self.scaling_factor != 0.0
                && self.shift_factor.is_finite(),
            || "scaling_factor must be a number other than 0".into(),
        )?;
        check(
            file,
            !self.use_quant_conv && !self.use_post_quant_conv,
            || "this autoencoder has quant convs (Stable Diffusion's form); FLUX's has none".into(),
        )
    }
}
