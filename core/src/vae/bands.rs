//! An image as bands of rows, so that a layer never holds its whole input and its whole output at
//! once.
//!
//! A large image passes through a layer band by band; each band is dropped after its last use. The
//! result is that of the whole image: a 3x3 convolution sees the rows beside its band, and a
//! GroupNorm the moments of all bands. Not supported: cutting columns, which would save no memory.

use burn::tensor::{Tensor, TensorData};

use crate::nn::GroupNorm;

/// The number of pixels that pass through a layer at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiling {
    /// All pixels of an image.
    Whole,
    /// Bands of whole rows with about this many pixels each.
    Bands {
        /// Pixels of a band.
        pixels: usize,
    },
}

impl Tiling {
    /// An image with more pixels than this is decoded in bands.
    pub const LARGE: usize = 1_000_000;

    /// Pixels of a large image's bands: few enough to be a small part of it, many enough that the
    /// two rows which a neighbour computes too are few.
    const PIXELS: usize = 64 * 1024;

    /// The tiling for an image of this size.
    pub fn of(width: usize, height: usize) -> Self {
        match width * height > Self::LARGE {
            true => Self::Bands {
                pixels: Self::PIXELS,
            },
            false => Self::Whole,
        }
    }

    /// Pixels of a band of an image with `all`.
    pub(super) fn pixels(self, all: usize) -> usize {
        match self {
            Self::Whole => all,
            Self::Bands { pixels } => pixels.min(all),
        }
    }
}

/// An image `[batch, channels, height, width]` as bands of rows from top to bottom, one at least.
#[derive(Debug, Clone)]
pub struct Bands(Vec<Tensor<4>>);

impl Bands {
    /// An image in one band.
    pub(super) fn whole(x: Tensor<4>) -> Self {
        Self(vec![x])
    }

    /// The image in one piece, `[batch, channels, height, width]`.
    pub fn join(mut self) -> Tensor<4> {
        match self.0.len() {
            1 => self.0.remove(0),
            _ => Tensor::cat(self.0, ROWS),
        }
    }

    /// Cut further, so that each band of an image `scale` times as wide and high has at most as many
    /// pixels as `tiling` allows, but one row of this one at least.
    pub(super) fn cut(self, tiling: Tiling, scale: usize) -> Self {
        let cut = |band: Tensor<4>| {
            let [_, _, height, width] = band.dims();
            let pixels = tiling.pixels(height * width * scale * scale);
            let rows = (pixels / (width * scale * scale)).max(1);
            match rows < height {
                true => band.split(rows, ROWS),
                false => vec![band],
            }
        };
        Self(self.0.into_iter().flat_map(cut).collect())
    }

    /// `norm`'s moments over all bands: `[batch, groups, 2]`.
    pub(super) fn moments(&self, norm: &GroupNorm) -> Tensor<3> {
        let mut moments: Vec<_> = self.0.iter().map(|band| norm.moments(band)).collect();
        if moments.len() == 1 {
            return moments.remove(0);
        }
        // Chan, Golub and LeVeque, "Updating formulae" (1979), each band by its share of the rows.
        let rows: Vec<f32> = self.0.iter().map(|band| band.dims()[ROWS] as f32).collect();
        let height: f32 = rows.iter().sum();
        let shares: Vec<f32> = rows.iter().map(|rows| rows / height).collect();
        let shares = TensorData::new(shares, [moments.len(), 1, 1, 1]);
        let shares = Tensor::<4>::from_data(shares, &moments[0].device());
        let moments: Tensor<4> = Tensor::stack(moments, 0); // [bands, batch, groups, 2]
        let (means, variances) = (moments.clone().narrow(3, 0, 1), moments.narrow(3, 1, 1));
        let mean = (means.clone() * shares.clone()).sum_dim(0);
        let apart = (means - mean.clone()).square();
        let variance = ((variances + apart) * shares).sum_dim(0);
        Tensor::cat(vec![mean, variance], 3).squeeze_dim(0)
    }

    /// The bands one after the other, each with the rows beside it.
    pub(super) fn windows(self) -> impl Iterator<Item = Window> {
        let mut bands = self.0.into_iter().peekable();
        let mut above = None;
        std::iter::from_fn(move || {
            let band = bands.next()?;
            let last = band.dims()[ROWS] - 1;
            let below = bands.peek().map(|band| band.clone().narrow(ROWS, 0, 1));
            let next_above = Some(band.clone().narrow(ROWS, last, 1)).filter(|_| below.is_some());
            Some(Window {
                above: std::mem::replace(&mut above, next_above),
                band,
                below,
            })
        })
    }
}

impl FromIterator<Tensor<4>> for Bands {
    fn from_iter<I: IntoIterator<Item = Tensor<4>>>(bands: I) -> Self {
        Self(bands.into_iter().collect())
    }
}

impl IntoIterator for Bands {
    type Item = Tensor<4>;
    type IntoIter = std::vec::IntoIter<Tensor<4>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The axis that is cut.
const ROWS: usize = 2;

/// A band and what a 3x3 convolution sees besides.
pub(super) struct Window {
    above: Option<Tensor<4>>,
    pub(super) band: Tensor<4>,
    below: Option<Tensor<4>>,
}

impl Window {
    /// This band of what `layers` make of the image: one 3x3 convolution, and pixel by pixel what
    /// comes before it. Each row becomes `scale` rows.
    pub(super) fn convolve(
        self,
        scale: usize,
        layers: impl FnOnce(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let rows = self.band.dims()[ROWS];
        let first = self.above.iter().len();
        let mut seen: Vec<_> = [self.above, Some(self.band), self.below]
            .into_iter()
            .flatten()
            .collect();
        match seen.len() {
            1 => layers(seen.remove(0)),
            _ => layers(Tensor::cat(seen, ROWS)).narrow(ROWS, first * scale, rows * scale),
        }
    }
}
