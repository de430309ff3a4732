//! Latents to pictures, whole or in tiles.

use burn::tensor::Tensor;
use x2i_shaders::Activation;

use super::blocks::{Direction, Level, Mid};
use super::norms::Norms;
use super::tiles::{self, Tiling};
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
        let [_, _, height, width] = z.dims();
        let fine = self.up.len().min(tiles::LEVELS);
        let scale = 1 << (self.up.len() - fine);
        let pixels = (height * width) << (2 * (self.up.len() - 1));
        let x = self.conv_in.forward(z);
        on_part("conv_in", &x).await?;
        let mut x = self.mid.forward(x, on_part).await?;
        let in_tiles = tiling.applies_to(pixels, [height * scale, width * scale]);
        let whole = if in_tiles { fine } else { 0 };
        for (index, level) in self.up.iter().enumerate().skip(whole).rev() {
            x = level.forward(x, Direction::Up, &mut Norms::Own);
            on_part(&format!("up.{index}"), &x).await?;
        }
        match in_tiles {
            true => self.tiled(x, fine, on_part).await,
            false => Ok(self.fine(x, 0, &mut Norms::Own)),
        }
    }

    /// The last `levels` levels and what makes colours of them.
    fn fine(&self, mut x: Tensor<4>, levels: usize, norms: &mut Norms) -> Tensor<4> {
        for level in self.up[..levels].iter().rev() {
            x = level.forward(x, Direction::Up, norms);
        }
        let x = norms.apply(&self.norm_out, x, Activation::Silu);
        self.conv_out.forward(x)
    }

    /// [`Decoder::fine`] tile by tile; a level is reported when its share of the tiles is done.
    async fn tiled(
        &self,
        x: Tensor<4>,
        levels: usize,
        on_part: &mut impl OnPart,
    ) -> Result<Tensor<4>> {
        let [_, _, height, width] = x.dims();
        let halo = self.reach(levels);
        let moments = self.measure(&x, levels);
        let (rows, columns) = (tiles::parts(height, halo), tiles::parts(width, halo));
        let (count, mut done) = (rows.clone().count() * columns.clone().count(), 0);
        let scale = 1 << (levels - 1);
        let mut bands = Vec::new();
        for row in rows {
            let mut band = Vec::new();
            for column in columns.clone() {
                let mut norms = Norms::Given {
                    moments: moments.clone(),
                    next: 0,
                };
                let tile = tiles::crop(&x, row.outer.clone(), column.outer.clone());
                let tile = self.fine(tile, levels, &mut norms);
                let tile = tiles::crop(&tile, row.inside(scale), column.inside(scale));
                for level in levels * done / count..levels * (done + 1) / count {
                    on_part(&format!("up.{}", levels - 1 - level), &tile).await?;
                }
                done += 1;
                band.push(tile);
            }
            bands.push(Tensor::cat(band, 3));
        }
        Ok(Tensor::cat(bands, 2))
    }

    /// The moments of every norm of [`Decoder::fine`], from windows of the picture.
    fn measure(&self, x: &Tensor<4>, levels: usize) -> Vec<Tensor<3>> {
        let mut norms = Norms::Measure {
            found: Vec::new(),
            margin: tiles::env("MARGIN", 0),
            outer: tiles::env("WINDOW", 32),
        };
        let windows = tiles::windows(x, tiles::env("WINDOW", 32), tiles::env("COUNT", 4));
        self.fine(windows, levels, &mut norms);
        match norms {
            Norms::Measure { found, .. } => found,
            Norms::Own | Norms::Given { .. } => Vec::new(),
        }
    }

    /// How far the convolutions of the last `levels` levels reach, in values of what they begin with.
    fn reach(&self, levels: usize) -> usize {
        // Of a block two, and one that doubles the picture or makes colours.
        let reach = |(index, level): (usize, &Level)| (2 * level.blocks() + 1) << index;
        let finest: usize = self.up[..levels].iter().enumerate().map(reach).sum();
        finest.div_ceil(1 << (levels - 1))
    }
}
