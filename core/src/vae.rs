//! AutoencoderKL in FLUX form: pictures to latents and back.
//!
//! Source: black-forest-labs/flux `modules/autoencoder.py`; fields are its checkpoint's names.
//! Left out: quant convs (FLUX has none) and tiling.

use burn::tensor::{Tensor, activation};

use crate::config::VaeConfig;
use crate::error::Result;
use crate::nn::{Bias, Conv2d, GroupNorm, Linear, attention};
use crate::weights::Scope;

const EPS: f64 = 1e-6;
/// Range of the log-variance, as diffusers clamps it.
const LOG_VARIANCE: (f32, f32) = (-30.0, 20.0);

/// Hears every part of the network as it finishes, by its checkpoint name; may stop.
pub trait OnPart: AsyncFnMut(&str, &Tensor<4>) -> Result<()> {}

impl<F: AsyncFnMut(&str, &Tensor<4>) -> Result<()>> OnPart for F {}

#[derive(Debug)]
struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    async fn load(scope: &Scope<'_>, input: usize, output: usize, groups: usize) -> Result<Self> {
        let nin_shortcut = match input == output {
            true => None,
            false => Some(Conv2d::load(&scope.child("nin_shortcut"), input, output, 1).await?),
        };
        Ok(Self {
            norm1: GroupNorm::load(&scope.child("norm1"), input, groups, EPS).await?,
            conv1: Conv2d::load(&scope.child("conv1"), input, output, 3).await?,
            norm2: GroupNorm::load(&scope.child("norm2"), output, groups, EPS).await?,
            conv2: Conv2d::load(&scope.child("conv2"), output, output, 3).await?,
            nin_shortcut,
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self
            .conv1
            .forward(activation::silu(self.norm1.forward(x.clone())));
        let h = self.conv2.forward(activation::silu(self.norm2.forward(h)));
        match &self.nin_shortcut {
            Some(shortcut) => shortcut.forward(x) + h,
            None => x + h,
        }
    }
}

/// One head over all pixels.
#[derive(Debug)]
struct AttnBlock {
    norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    proj_out: Linear,
}

impl AttnBlock {
    async fn load(scope: &Scope<'_>, channels: usize, groups: usize) -> Result<Self> {
        Ok(Self {
            norm: GroupNorm::load(&scope.child("norm"), channels, groups, EPS).await?,
            q: Linear::load(&scope.child("q"), channels, channels, Bias::Yes).await?,
            k: Linear::load(&scope.child("k"), channels, channels, Bias::Yes).await?,
            v: Linear::load(&scope.child("v"), channels, channels, Bias::Yes).await?,
            proj_out: Linear::load(&scope.child("proj_out"), channels, channels, Bias::Yes).await?,
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let h = self.norm.forward(x.clone());
        let h = h.reshape([batch, channels, height * width]).swap_dims(1, 2); // [batch, pixels, channels]
        let head = |linear: &Linear| linear.forward(h.clone()).unsqueeze_dim::<4>(1);
        let scale = (channels as f32).sqrt().recip();
        let attn =
            attention(head(&self.q), head(&self.k), head(&self.v), None, scale).squeeze_dim::<3>(1);
        x + self
            .proj_out
            .forward(attn)
            .swap_dims(1, 2)
            .reshape([batch, channels, height, width])
    }
}

/// The middle of both halves.
#[derive(Debug)]
struct Mid {
    block_1: ResnetBlock,
    attn_1: AttnBlock,
    block_2: ResnetBlock,
}

impl Mid {
    async fn load(scope: &Scope<'_>, channels: usize, groups: usize) -> Result<Self> {
        Ok(Self {
            block_1: ResnetBlock::load(&scope.child("block_1"), channels, channels, groups).await?,
            attn_1: AttnBlock::load(&scope.child("attn_1"), channels, groups).await?,
            block_2: ResnetBlock::load(&scope.child("block_2"), channels, channels, groups).await?,
        })
    }

    async fn forward(&self, x: Tensor<4>, on_part: &mut impl OnPart) -> Result<Tensor<4>> {
        let x = self.attn_1.forward(self.block_1.forward(x));
        on_part("mid.attn_1", &x).await?;
        let x = self.block_2.forward(x);
        on_part("mid", &x).await?;
        Ok(x)
    }
}

/// Resnets of one resolution and the way to the next.
#[derive(Debug)]
struct Level {
    block: Vec<ResnetBlock>,
    resample: Option<Conv2d>, // downsample.conv or upsample.conv
}

/// Which way a level leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

impl Level {
    async fn load(
        scope: &Scope<'_>,
        direction: Direction,
        channels: (usize, usize),
        blocks: usize,
        groups: usize,
        resamples: bool,
    ) -> Result<Self> {
        let (mut input, output) = channels;
        let mut block = Vec::with_capacity(blocks);
        for index in 0..blocks {
            block.push(
                ResnetBlock::load(&scope.child("block").child(index), input, output, groups)
                    .await?,
            );
            input = output;
        }
        let resample = match (resamples, direction) {
            (false, _) => None,
            (true, Direction::Down) => Some(
                Conv2d::load(&scope.child("downsample.conv"), output, output, 3)
                    .await?
                    .with_stride(2, 0),
            ),
            (true, Direction::Up) => {
                Some(Conv2d::load(&scope.child("upsample.conv"), output, output, 3).await?)
            }
        };
        Ok(Self { block, resample })
    }

    fn forward(&self, x: Tensor<4>, direction: Direction) -> Tensor<4> {
        let x = self.block.iter().fold(x, |x, block| block.forward(x));
        match (&self.resample, direction) {
            (None, _) => x,
            // Padded on the right and the bottom only.
            (Some(conv), Direction::Down) => conv.forward(x.pad((0, 1, 0, 1), 0.0)),
            (Some(conv), Direction::Up) => conv.forward(nearest_twice(x)),
        }
    }
}

/// Each pixel becomes 2 x 2.
fn nearest_twice(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch * channels, height, 1, width, 1])
        .expand([batch * channels, height, 2, width, 2])
        .reshape([batch, channels, height * 2, width * 2])
}

#[derive(Debug)]
struct Encoder {
    conv_in: Conv2d,
    down: Vec<Level>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    async fn load(config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
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

    async fn forward(&self, x: Tensor<4>, on_part: &mut impl OnPart) -> Result<Tensor<4>> {
        let mut x = self.conv_in.forward(x);
        on_part("conv_in", &x).await?;
        for (index, level) in self.down.iter().enumerate() {
            x = level.forward(x, Direction::Down);
            on_part(&format!("down.{index}"), &x).await?;
        }
        let x = self.norm_out.forward(self.mid.forward(x, on_part).await?);
        on_part("norm_out", &x).await?;
        Ok(self.conv_out.forward(activation::silu(x)))
    }
}

#[derive(Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid: Mid,
    up: Vec<Level>, // up.0 is the finest, and runs last
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    async fn load(config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
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

    async fn forward(&self, z: Tensor<4>, on_part: &mut impl OnPart) -> Result<Tensor<4>> {
        let x = self.conv_in.forward(z);
        on_part("conv_in", &x).await?;
        let mut x = self.mid.forward(x, on_part).await?;
        for (index, level) in self.up.iter().enumerate().rev() {
            x = level.forward(x, Direction::Up);
            on_part(&format!("up.{index}"), &x).await?;
        }
        Ok(self
            .conv_out
            .forward(activation::silu(self.norm_out.forward(x))))
    }
}

/// A Gaussian over latents, each `[batch, latent_channels, height/8, width/8]`.
#[derive(Debug, Clone)]
pub struct LatentDistribution {
    /// The mean, and the mode.
    pub mean: Tensor<4>,
    /// Logarithm of the variance.
    pub log_variance: Tensor<4>,
}

/// Both halves of the autoencoder; the encoder is read only where it is needed.
#[derive(Debug)]
pub struct Vae {
    encoder: Option<Encoder>,
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
            encoder: None,
            decoder,
            config: config.clone(),
        })
    }

    /// Reads both halves under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &VaeConfig, scope: &Scope<'_>) -> Result<Self> {
        let encoder = Some(Encoder::load(config, &scope.child("encoder")).await?);
        Ok(Self {
            encoder,
            ..Self::load_decoder(config, scope).await?
        })
    }

    /// Parts that [`Vae::decode`] reports.
    pub fn decoder_parts(&self) -> usize {
        self.decoder.up.len() + 3
    }

    /// Pictures `[batch, 3, height, width]` in -1..1 -> their latents' distribution, before scaling.
    ///
    /// # Errors
    /// What `on_part` returns.
    ///
    /// # Panics
    /// When only the decoder was read.
    pub async fn encode(
        &self,
        images: Tensor<4>,
        on_part: &mut impl OnPart,
    ) -> Result<LatentDistribution> {
        let encoder = self
            .encoder
            .as_ref()
            .expect("Vae::load reads the encoder, Vae::load_decoder does not");
        let moments = encoder.forward(images, on_part).await?;
        let channels = self.config.latent_channels;
        Ok(LatentDistribution {
            mean: moments.clone().narrow(1, 0, channels),
            log_variance: moments
                .narrow(1, channels, channels)
                .clamp(LOG_VARIANCE.0, LOG_VARIANCE.1),
        })
    }

    /// Latents as the encoder gives them -> pictures `[batch, 3, height, width]` in -1..1.
    ///
    /// # Errors
    /// What `on_part` returns.
    pub async fn decode(&self, latents: Tensor<4>, on_part: &mut impl OnPart) -> Result<Tensor<4>> {
        self.decoder.forward(latents, on_part).await
    }

    /// The transformer's latents -> the decoder's.
    pub fn unscale(&self, latents: Tensor<4>) -> Tensor<4> {
        latents / self.config.scaling_factor + self.config.shift_factor
    }

    /// The encoder's latents -> the transformer's.
    pub fn scale(&self, latents: Tensor<4>) -> Tensor<4> {
        (latents - self.config.shift_factor) * self.config.scaling_factor
    }
}
