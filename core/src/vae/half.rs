//! The layers that the encoder and the decoder both have, and their sizes.
//!
//! Each half has a first convolution, a level for every resolution, the middle, a norm and a last
//! convolution. Not here: the order in which a half runs them (`encoder`, `decoder`).

use super::blocks::{Direction, EPS, Level, Mid};
use crate::config::VaeConfig;
use crate::error::Result;
use crate::nn::{Conv2d, GroupNorm};
use crate::weights::Scope;

/// Colour channels of an image.
const COLOURS: usize = 3;

/// One half; fields are the checkpoint's names.
#[derive(Debug)]
pub(super) struct Half {
    pub conv_in: Conv2d,
    /// `down` or `up`, the finest resolution first.
    pub levels: Vec<Level>,
    pub mid: Mid,
    pub norm_out: GroupNorm,
    pub conv_out: Conv2d,
}

impl Half {
    /// Reads the encoder (down) or the decoder (up) under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(direction: Direction, config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
        let (channels, groups) = (&config.block_out_channels, config.norm_num_groups);
        let (finest, coarsest) = (channels[0], channels[channels.len() - 1]);
        // Channels of the half's input, its first and its last level to run, and its output.
        let [input, first, last, output] = match direction {
            // Two for each latent channel: mean and log-variance.
            Direction::Down => [COLOURS, finest, coarsest, 2 * config.latent_channels],
            Direction::Up => [config.latent_channels, coarsest, finest, COLOURS],
        };
        let mut levels = Vec::with_capacity(channels.len());
        for index in 0..channels.len() {
            levels.push(load_level(direction, index, config, scope).await?);
        }
        Ok(Self {
            conv_in: Conv2d::load(&scope.child("conv_in"), input, first, 3).await?,
            levels,
            mid: Mid::load(&scope.child("mid"), coarsest, groups).await?,
            norm_out: GroupNorm::load(&scope.child("norm_out"), last, groups, EPS).await?,
            conv_out: Conv2d::load(&scope.child("conv_out"), last, output, 3).await?,
        })
    }
}

/// Reads level `index`; level 0 is the finest resolution.
async fn load_level(
    direction: Direction,
    index: usize,
    config: &VaeConfig,
    scope: &Scope<'_>,
) -> Result<Level> {
    let channels = &config.block_out_channels;
    let coarsest = channels.len() - 1;
    // The level that runs before this one, this one's resnets, and whether a level runs after it.
    let (before, resnets, leads_on) = match direction {
        Direction::Down => (
            index.saturating_sub(1),
            config.layers_per_block,
            index < coarsest,
        ),
        Direction::Up => (
            (index + 1).min(coarsest),
            config.layers_per_block + 1,
            index > 0,
        ),
    };
    Level::load(
        &scope.child(direction.levels()).child(index),
        [channels[before], channels[index]],
        resnets,
        config.norm_num_groups,
        leads_on.then_some(direction),
    )
    .await
}
