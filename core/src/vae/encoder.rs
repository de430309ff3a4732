//! The encoder: images to the distribution of their latents.

use burn::tensor::{Tensor, activation};
use x2i_shaders::Activation;

use super::bands::{Bands, Tiling};
use super::blocks::Direction;
use super::half::Half;
use super::on_part::OnPart;
use crate::config::VaeConfig;
use crate::error::Result;
use crate::weights::Scope;

/// Range of the log-variance, as diffusers clamps it.
const LOG_VARIANCE: (f32, f32) = (-30.0, 20.0);

/// The first half of the autoencoder.
#[derive(Debug)]
pub struct VaeEncoder {
    half: Half,
    config: VaeConfig,
}

/// A Gaussian over latents, each `[batch, latent_channels, height/8, width/8]`.
#[derive(Debug, Clone)]
pub struct LatentDistribution {
    /// The mean, and the mode.
    pub mean: Tensor<4>,
    /// Logarithm of the variance.
    pub log_variance: Tensor<4>,
}

impl VaeEncoder {
    /// The encoder's part of the checkpoint's names.
    pub const PREFIX: &str = "encoder";

    /// Reads the encoder under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
        let scope = scope.child(Self::PREFIX);
        Ok(Self {
            half: Half::load(Direction::Down, config, &scope).await?,
            config: config.clone(),
        })
    }

    /// Parts that [`VaeEncoder::encode`] reports.
    pub fn parts(&self) -> usize {
        self.half.levels.len() + 4
    }

    /// Images `[batch, 3, height, width]` in -1..1 -> their latents' distribution, before scaling.
    ///
    /// # Errors
    /// The errors of `on_part`.
    pub async fn encode(
        &self,
        images: Tensor<4>,
        on_part: &mut impl OnPart,
    ) -> Result<LatentDistribution> {
        let moments = self.moments(images, on_part).await?;
        let channels = self.config.latent_channels;
        Ok(LatentDistribution {
            mean: moments.clone().narrow(1, 0, channels),
            log_variance: moments
                .narrow(1, channels, channels)
                .clamp(LOG_VARIANCE.0, LOG_VARIANCE.1),
        })
    }

    /// Means, then log-variances: `[batch, 2 * latent_channels, height/8, width/8]`.
    async fn moments(&self, images: Tensor<4>, on_part: &mut impl OnPart) -> Result<Tensor<4>> {
        let half = &self.half;
        let mut x = Bands::whole(half.conv_in.forward(images));
        on_part("conv_in", &x).await?;
        for (index, level) in half.levels.iter().enumerate() {
            x = level.forward(x, Direction::Down, Tiling::Whole);
            on_part(&format!("down.{index}"), &x).await?;
        }
        let x = half.mid.forward(x, on_part).await?;
        let x = half.norm_out.forward(x.join(), Activation::None);
        on_part("norm_out", &Bands::whole(x.clone())).await?;
        Ok(half.conv_out.forward(activation::silu(x)))
    }

    /// The encoder's latents -> the transformer's, `[batch, latent_channels, height/8, width/8]`.
    pub fn scale(&self, latents: Tensor<4>) -> Tensor<4> {
        (latents - self.config.shift_factor) * self.config.scaling_factor
    }
}

impl LatentDistribution {
    /// Latents of the distribution, chosen by normal `noise`; all are
    /// `[batch, latent_channels, height/8, width/8]`.
    pub fn sample(self, noise: Tensor<4>) -> Tensor<4> {
        self.mean + (self.log_variance * 0.5).exp() * noise
    }
}
