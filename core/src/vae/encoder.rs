//! Pictures to the moments of their latents.

use burn::tensor::{Tensor, activation};
use x2i_shaders::Activation;

use super::bands::{Bands, Tiling};
use super::blocks::{Direction, Level, Mid};
use super::{EPS, OnPart};
use crate::config::VaeConfig;
use crate::error::Result;
use crate::nn::{Conv2d, GroupNorm};
use crate::weights::Scope;

/// The first half.
#[derive(Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    pub(super) down: Vec<Level>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    pub(super) async fn load(config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
        let VaeConfig {
            block_out_channels: channels,
            norm_num_groups: groups,
            ..
        } = config;
        let (first, last, levels) = (channels[0], channels[channels.len() - 1], channels.len());
        let mut down = Vec::with_capacity(levels);
        for index in 0..levels {
            let io = (channels[index.saturating_sub(1)], channels[index]);
            let scope = scope.child("down").child(index);
            down.push(
                Level::load(
                    &scope,
                    Direction::Down,
                    io,
                    config.layers_per_block,
                    *groups,
                    index + 1 < levels,
                )
                .await?,
            );
        }
        Ok(Self {
            conv_in: Conv2d::load(&scope.child("conv_in"), 3, first, 3).await?,
            down,
            mid: Mid::load(&scope.child("mid"), last, *groups).await?,
            norm_out: GroupNorm::load(&scope.child("norm_out"), last, *groups, EPS).await?,
            conv_out: Conv2d::load(
                &scope.child("conv_out"),
                last,
                2 * config.latent_channels,
                3,
            )
            .await?,
        })
    }

    pub(super) async fn forward(
        &self,
        x: Tensor<4>,
        on_part: &mut impl OnPart,
    ) -> Result<Tensor<4>> {
        let mut x = Bands::whole(self.conv_in.forward(x));
        on_part("conv_in", &x).await?;
        for (index, level) in self.down.iter().enumerate() {
            x = level.forward(x, Direction::Down, Tiling::Whole);
            on_part(&format!("down.{index}"), &x).await?;
        }
        let x = self.mid.forward(x, on_part).await?;
        let x = self.norm_out.forward(x.join(), Activation::None);
        on_part("norm_out", &Bands::whole(x.clone())).await?;
        Ok(self.conv_out.forward(activation::silu(x)))
    }
}
