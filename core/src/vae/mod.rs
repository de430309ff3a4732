//! AutoencoderKL in FLUX form: pictures to latents and back.
//!
//! Source: black-forest-labs/flux `modules/autoencoder.py`; fields are its checkpoint's names.
//! A large picture is decoded in bands of rows, exactly ([`Tiling`]). Left out: quant convs (FLUX has
//! none), and bands in the encoder.

mod bands;
mod blocks;
mod decoder;
mod encoder;

use burn::tensor::Tensor;

use crate::config::VaeConfig;
use crate::error::Result;
use crate::weights::Scope;
pub use bands::{Bands, Tiling};
use decoder::Decoder;
use encoder::Encoder;

const EPS: f64 = 1e-6;
/// Range of the log-variance, as diffusers clamps it.
const LOG_VARIANCE: (f32, f32) = (-30.0, 20.0);

/// Hears every part of the network as it finishes, by its checkpoint name; may stop.
pub trait OnPart: AsyncFnMut(&str, &Bands) -> Result<()> {}

impl<F: AsyncFnMut(&str, &Bands) -> Result<()>> OnPart for F {}

/// A Gaussian over latents, each `[batch, latent_channels, height/8, width/8]`.
#[derive(Debug, Clone)]
pub struct LatentDistribution {
    /// The mean, and the mode.
    pub mean: Tensor<4>,
    /// Logarithm of the variance.
    pub log_variance: Tensor<4>,
}

/// The first half of the autoencoder.
#[derive(Debug)]
pub struct VaeEncoder {
    encoder: Encoder,
    config: VaeConfig,
}

impl VaeEncoder {
    /// The encoder's part of the checkpoint's names.
    pub const PREFIX: &str = "encoder";

    /// Reads the encoder under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
        Ok(Self {
            encoder: Encoder::load(config, &scope.child(Self::PREFIX)).await?,
            config: config.clone(),
        })
    }

    /// Parts that [`VaeEncoder::encode`] reports.
    pub fn parts(&self) -> usize {
        self.encoder.down.len() + 4
    }

    /// Pictures `[batch, 3, height, width]` in -1..1 -> their latents' distribution, before scaling.
    ///
    /// # Errors
    /// What `on_part` returns.
    pub async fn encode(
        &self,
        images: Tensor<4>,
        on_part: &mut impl OnPart,
    ) -> Result<LatentDistribution> {
        let moments = self.encoder.forward(images, on_part).await?;
        let channels = self.config.latent_channels;
        Ok(LatentDistribution {
            mean: moments.clone().narrow(1, 0, channels),
            log_variance: moments
                .narrow(1, channels, channels)
                .clamp(LOG_VARIANCE.0, LOG_VARIANCE.1),
        })
    }

    /// The encoder's latents -> the transformer's.
    pub fn scale(&self, latents: Tensor<4>) -> Tensor<4> {
        (latents - self.config.shift_factor) * self.config.scaling_factor
    }
}

impl LatentDistribution {
    /// Latents of the distribution, chosen by `noise` of the mean's shape.
    pub fn sample(self, noise: Tensor<4>) -> Tensor<4> {
        self.mean + (self.log_variance * 0.5).exp() * noise
    }
}

/// The second half of the autoencoder.
#[derive(Debug)]
pub struct Vae {
    decoder: Decoder,
    config: VaeConfig,
}

impl Vae {
    /// The decoder's part of the checkpoint's names.
    pub const DECODER: &str = "decoder";

    /// Reads the decoder under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load_decoder(config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
        let decoder = Decoder::load(config, &scope.child(Self::DECODER)).await?;
        Ok(Self {
            decoder,
            config: config.clone(),
        })
    }

    /// Parts that [`Vae::decode`] reports.
    pub fn decoder_parts(&self) -> usize {
        self.decoder.up.len() + 3
    }

    /// Latents as the encoder gives them -> pictures `[batch, 3, height, width]` in -1..1; large ones
    /// in bands.
    ///
    /// # Errors
    /// What `on_part` returns.
    pub async fn decode(&self, latents: Tensor<4>, on_part: &mut impl OnPart) -> Result<Tensor<4>> {
        let [_, _, height, width] = latents.dims();
        let scale = self.config.downsampling();
        let tiling = Tiling::of(width * scale, height * scale);
        self.decode_in(tiling, latents, on_part).await
    }

    /// [`Vae::decode`] with bands as asked for; the picture is the same but for roundings.
    ///
    /// # Errors
    /// What `on_part` returns.
    pub async fn decode_in(
        &self,
        tiling: Tiling,
        latents: Tensor<4>,
        on_part: &mut impl OnPart,
    ) -> Result<Tensor<4>> {
        self.decoder.forward(latents, tiling, on_part).await
    }

    /// The transformer's latents -> the decoder's.
    pub fn unscale(&self, latents: Tensor<4>) -> Tensor<4> {
        latents / self.config.scaling_factor + self.config.shift_factor
    }
}
