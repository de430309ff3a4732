//! The blocks of both halves of the autoencoder.
//!
//! Source: black-forest-labs/flux `modules/autoencoder.py`; fields are its checkpoint's names.

use burn::tensor::Tensor;
use x2i_shaders::Activation;

use super::bands::{Bands, Tiling};
use super::on_part::OnPart;
use crate::error::Result;
use crate::nn::{Bias, Conv2d, GroupNorm, Linear, attention};
use crate::weights::Scope;

/// Epsilon of every GroupNorm.
pub(super) const EPS: f64 = 1e-6;

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

    fn forward(&self, x: Bands) -> Bands {
        let moments = x.moments(&self.norm1);
        // Both ways at once, so that no more than a band of a wider x stays beside them.
        let (h, x): (Vec<_>, Vec<_>) = x
            .windows()
            .map(|window| {
                let x = window.band.clone();
                let h = window.convolve(1, |x| {
                    let norm = self.norm1.apply(x, moments.clone(), Activation::Silu);
                    self.conv1.forward(norm)
                });
                let x = match &self.nin_shortcut {
                    Some(shortcut) => shortcut.forward(x),
                    None => x,
                };
                (h, x)
            })
            .unzip();
        let h = Bands::from_iter(h);
        let moments = h.moments(&self.norm2);
        let h = h.windows().map(|window| {
            window.convolve(1, |h| {
                let norm = self.norm2.apply(h, moments.clone(), Activation::Silu);
                self.conv2.forward(norm)
            })
        });
        x.into_iter().zip(h).map(|(x, h)| x + h).collect()
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
        let h = self.norm.forward(x.clone(), Activation::None);
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
pub(super) struct Mid {
    block_1: ResnetBlock,
    attn_1: AttnBlock,
    block_2: ResnetBlock,
}

impl Mid {
    pub(super) async fn load(scope: &Scope<'_>, channels: usize, groups: usize) -> Result<Self> {
        Ok(Self {
            block_1: ResnetBlock::load(&scope.child("block_1"), channels, channels, groups).await?,
            attn_1: AttnBlock::load(&scope.child("attn_1"), channels, groups).await?,
            block_2: ResnetBlock::load(&scope.child("block_2"), channels, channels, groups).await?,
        })
    }

    pub(super) async fn forward(&self, x: Bands, on_part: &mut impl OnPart) -> Result<Bands> {
        let x = self.block_1.forward(x);
        let x = Bands::whole(self.attn_1.forward(x.join()));
        on_part("mid.attn_1", &x).await?;
        let x = self.block_2.forward(x);
        on_part("mid", &x).await?;
        Ok(x)
    }
}

/// Resnets of one resolution and the way to the next.
#[derive(Debug)]
pub(super) struct Level {
    block: Vec<ResnetBlock>,
    resample: Option<Conv2d>, // downsample.conv or upsample.conv
}

/// The direction from a level to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Down,
    Up,
}

impl Direction {
    /// The prefix of the levels.
    pub(super) fn levels(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }

    /// The convolution's name.
    fn resample(self) -> &'static str {
        match self {
            Self::Down => "downsample.conv",
            Self::Up => "upsample.conv",
        }
    }
}

impl Level {
    /// Reads `resnets` blocks from `input` to `output` channels, and the way to the next level,
    /// where there is one.
    pub(super) async fn load(
        scope: &Scope<'_>,
        [mut input, output]: [usize; 2],
        resnets: usize,
        groups: usize,
        next: Option<Direction>,
    ) -> Result<Self> {
        let mut block = Vec::with_capacity(resnets);
        for index in 0..resnets {
            let scope = scope.child("block").child(index);
            block.push(ResnetBlock::load(&scope, input, output, groups).await?);
            input = output;
        }
        let resample = match next {
            Some(direction) => {
                let scope = scope.child(direction.resample());
                Some(Conv2d::load(&scope, output, output, 3).await?)
            }
            None => None,
        };
        Ok(Self { block, resample })
    }

    /// `tiling` is that of the output; on the way down an image stays whole.
    pub(super) fn forward(&self, x: Bands, direction: Direction, tiling: Tiling) -> Bands {
        let x = self.block.iter().fold(x, |x, block| block.forward(x));
        match (&self.resample, direction) {
            (None, _) => x,
            (Some(conv), Direction::Down) => Bands::whole(conv.forward_downsampled(x.join())),
            (Some(conv), Direction::Up) => x
                .cut(tiling, 2)
                .windows()
                .map(|window| window.convolve(2, |x| conv.forward_upsampled(x)))
                .collect(),
        }
    }
}
