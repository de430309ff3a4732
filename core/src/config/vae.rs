//! The autoencoder's config (diffusers `vae/config.json`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::{check, from_value};
use super::keys::{Key, check_class, check_keys};
use super::limits::{COUNT, WIDTH, check_limits};
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

/// The keys of `vae/config.json`.
const KEYS: &[(&str, Key)] = &[
    ("_class_name", Key::Read),
    ("_diffusers_version", Key::Idle),
    ("_name_or_path", Key::Idle),
    ("block_out_channels", Key::Read),
    ("latent_channels", Key::Read),
    ("layers_per_block", Key::Read),
    ("norm_num_groups", Key::Read),
    ("scaling_factor", Key::Read),
    ("shift_factor", Key::Read),
    ("use_quant_conv", Key::Read),
    ("use_post_quant_conv", Key::Read),
    ("act_fn", Key::Word(&["silu", "swish"])),
    ("in_channels", Key::Number(3.0)),
    ("out_channels", Key::Number(3.0)),
    ("down_block_types", Key::All("DownEncoderBlock2D")),
    ("up_block_types", Key::All("UpDecoderBlock2D")),
    ("mid_block_add_attention", Key::On),
    ("latents_mean", Key::Off),
    ("latents_std", Key::Off),
    ("sample_size", Key::Idle),
    ("force_upcast", Key::Idle),
];

impl VaeConfig {
    /// Pixels of a latent's side: 8 for the four resolutions of FLUX.
    pub fn downsampling(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Reads a published `vae/config.json`; keys that are not known go to `warnings`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming what is not computed here.
    pub(crate) fn read(file: &str, json: Value, warnings: &mut Vec<String>) -> Result<Self> {
        check_class(file, &json, "AutoencoderKL", "FLUX's VAE")?;
        check_keys(file, "", &json, &[KEYS], warnings)?;
        let shift = json.get("shift_factor").and_then(Value::as_f64);
        check(file, shift.is_some(), || {
            "shift_factor is null or missing; FLUX's VAE has 0.1159 (write 0 for none)".into()
        })?;
        let config: Self = from_value(file, json)?;
        config.validate(file)?;
        Ok(config)
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
        check_limits(
            file,
            "",
            &[
                ("layers_per_block", self.layers_per_block, COUNT),
                ("latent_channels", self.latent_channels, WIDTH / 4),
                ("norm_num_groups", self.norm_num_groups, WIDTH),
            ],
        )?;
        for &channels in &self.block_out_channels {
            check_limits(file, "", &[("block_out_channels", channels, WIDTH)])?;
            check(
                file,
                channels > 0 && channels % self.norm_num_groups == 0,
                || {
                    format!(
                        "block_out_channels: {channels} channels can't be split into norm_num_groups {}",
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
