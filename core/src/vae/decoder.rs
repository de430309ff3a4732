//! The decoder: latents to images.

use burn::tensor::Tensor;
use x2i_shaders::Activation;

use super::bands::{Bands, Tiling};
use super::blocks::Direction;
use super::half::Half;
use super::on_part::OnPart;
use crate::config::VaeConfig;
use crate::error::Result;
use crate::weights::Scope;

/// The second half of the autoencoder.
#[derive(Debug)]
pub struct Vae {
    half: Half,
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
        let scope = scope.child(Self::DECODER);
        Ok(Self {
            half: Half::load(Direction::Up, config, &scope).await?,
            config: config.clone(),
        })
    }

    /// Parts that [`Vae::decode`] reports.
    pub fn decoder_parts(&self) -> usize {
        self.half.levels.len() + 3
    }

    /// Latents as the encoder gives them -> images `[batch, 3, height, width]` in -1..1; large ones
    /// in bands.
    ///
    /// # Errors
    /// The errors of `on_part`.
    pub async fn decode(&self, latents: Tensor<4>, on_part: &mut impl OnPart) -> Result<Tensor<4>> {
        let [_, _, height, width] = latents.dims();
        let scale = self.config.downsampling();
        let tiling = Tiling::of(width * scale, height * scale);
        self.decode_in(tiling, latents, on_part).await
    }

    /// [`Vae::decode`] with the given bands: images `[batch, 3, height, width]` in -1..1, the same but
    /// for roundings.
    ///
    /// # Errors
    /// The errors of `on_part`.
    pub async fn decode_in(
        &self,
        tiling: Tiling,
        latents: Tensor<4>,
        on_part: &mut impl OnPart,
    ) -> Result<Tensor<4>> {
        let half = &self.half;
        let x = Bands::whole(half.conv_in.forward(latents));
        on_part("conv_in", &x).await?;
        let mut x = half.mid.forward(x, on_part).await?;
        for (index, level) in half.levels.iter().enumerate().rev() {
            x = level.forward(x, Direction::Up, tiling);
            on_part(&format!("up.{index}"), &x).await?;
        }
        let moments = x.moments(&half.norm_out);
        let images = x.windows().map(|window| {
            window.convolve(1, |x| {
                let norm = half.norm_out.apply(x, moments.clone(), Activation::Silu);
                half.conv_out.forward(norm)
            })
        });
        Ok(Bands::from_iter(images).join())
    }

    /// The transformer's latents -> the decoder's, `[batch, latent_channels, height/8, width/8]`.
    pub fn unscale(&self, latents: Tensor<4>) -> Tensor<4> {
        latents / self.config.scaling_factor + self.config.shift_factor
    }
}
