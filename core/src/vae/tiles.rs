//! The decoder's fine levels in tiles, so that a large picture needs the memory of a small one.
//!
//! A tile is decoded with a halo as wide as the convolutions reach, and normalized by the moments of
//! the whole picture instead of its own: then every tile is exactly what the whole would have been
//! there, and there is no seam to blend away. The moments are measured first, on windows spread over
//! the picture that are decoded together.

use std::ops::Range;

use burn::tensor::Tensor;

/// Whether the fine levels run in tiles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tiling {
    /// Above one megapixel.
    #[default]
    Auto,
    /// Never: exact, and 3 kB of memory a pixel in FLUX's shape.
    Off,
    /// Always, where there is more than one tile.
    On,
}

/// The largest picture that [`Tiling::Auto`] decodes in the whole.
const WHOLE_PIXELS: usize = 1024 * 1024;

/// Levels that run in tiles: three of FLUX's four. What goes into them has a quarter of the
/// picture's resolution, and is small.
pub(super) const LEVELS: usize = 3;

/// Side of a tile, where the tiled levels begin: 512 pixels of FLUX's picture.
const TILE: usize = 128;

impl Tiling {
    /// True when a picture of `pixels`, whose tiled levels begin with `size`, runs in tiles.
    pub(super) fn applies_to(self, pixels: usize, size: [usize; 2]) -> bool {
        let several = size.into_iter().any(|side| side > TILE);
        several && (self == Self::On || self == Self::Auto && pixels > WHOLE_PIXELS)
    }
}

/// A part of a side, and the same with its halo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) inner: Range<usize>,
    pub(super) outer: Range<usize>,
}

impl Part {
    /// Where the part lies in what came out for its outer range, `scale` times as large.
    pub(super) fn inside(&self, scale: usize) -> Range<usize> {
        let shift = |at: usize| (at - self.outer.start) * scale;
        shift(self.inner.start)..shift(self.inner.end)
    }
}

/// Equal parts of a side of `len`, none longer than a tile.
pub(super) fn parts(len: usize, halo: usize) -> impl Iterator<Item = Part> + Clone {
    let count = len.div_ceil(TILE);
    (0..count).map(move |index| {
        let inner = len * index / count..len * (index + 1) / count;
        let outer = inner.start.saturating_sub(halo)..len.min(inner.end + halo);
        Part { inner, outer }
    })
}

/// `[batch, channels, rows, columns]` of these.
pub(super) fn crop(x: &Tensor<4>, rows: Range<usize>, columns: Range<usize>) -> Tensor<4> {
    let [batch, channels, ..] = x.dims();
    x.clone().slice([0..batch, 0..channels, rows, columns])
}

pub(super) fn env(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

/// Windows spread evenly over the picture, one after the other in the batch.
pub(super) fn windows(x: &Tensor<4>, side: usize, count: usize) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let starts = |len: usize| {
        let free = len - side.min(len);
        (0..count).map(move |index| free * (2 * index + 1) / (2 * count))
    };
    let place = |start: usize, len: usize| start..(start + side).min(len);
    let windows = starts(height).flat_map(|top| {
        starts(width).map(move |left| crop(x, place(top, height), place(left, width)))
    });
    Tensor::cat(windows.collect(), 0)
}
