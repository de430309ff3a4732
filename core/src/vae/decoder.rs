//! Latents to pictures.

use burn::tensor::Tensor;
use x2i_shaders::Activation;

use super::bands::{Bands, Tiling};
use super::blocks::{Direction, Level, Mid};
use super::{EPS, OnPart};
use crate::config::VaeConfig;
use crate::error::Result;
use crate::nn::{Conv2d, GroupNorm};
use crate::weights::Scope;

/// The second half.
#[derive(Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid: Mid,
    pub(super) up: Vec<Level>, // up.0 is the finest, and runs last
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) async fn load(config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
        let VaeConfig {
            block_out_channels: channels,
            norm_num_groups: groups,
            ..
        } = config;
        let (first, last, levels) = (channels[0], channels[channels.len() - 1], channels.len());
        let mut up = Vec::with_capacity(levels);
        for index in 0..levels {
            let io = (channels[(index + 1).min(levels - 1)], channels[index]);
            let scope = scope.child("up").child(index);
            up.push(
                Level::load(
                    &scope,
                    Direction::Up,
                    io,
                    config.layers_per_block + 1,
                    *groups,
                    index > 0,
                )
                .await?,
            );
        }
        Ok(Self {
            conv_in: Conv2d::load(&scope.child("conv_in"), config.latent_channels, last, 3).await?,
            mid: Mid::load(&scope.child("mid"), last, *groups).await?,
            up,
            norm_out: GroupNorm::load(&scope.child("norm_out"), first, *groups, EPS).await?,
            conv_out: Conv2d::load(&scope.child("conv_out"), first, 3, 3).await?,
        })
    }

    /// Latents -> pictures.
    pub(super) async fn forward(
        &self,
        z: Tensor<4>,
        tiling: Tiling,
        on_part: &mut impl OnPart,
    ) -> Result<Tensor<4>> {
        let x = Bands::whole(self.conv_in.forward(z));
        on_part("conv_in", &x).await?;
        let mut x = self.mid.forward(x, on_part).await?;
        for (index, level) in self.up.iter().enumerate().rev() {
            x = level.forward(x, Direction::Up, tiling);
            on_part(&format!("up.{index}"), &x).await?;
        }
        let moments = x.moments(&self.norm_out);
        let pictures = x.windows().map(|window| {
            window.convolve(1, |x| {
                let norm = self.norm_out.apply(x, moments.clone(), Activation::Silu);
                self.conv_out.forward(norm)
            })
        });
        Ok(Bands::from_iter(pictures).join())
    }
}
