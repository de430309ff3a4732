//! The sizes that all steps of the convolution share.

use crate::conv2d::transform::{IN, ZERO_OF_PAIRS};

/// Points of a tile.
pub(crate) const POINTS: usize = IN * IN;

/// Output channels of a register block. Its sums, [`ROWS`] by [`LANES`], fill 12 of the 16 registers of AVX2, or 8
/// of those of SIMD128.
pub(crate) const ROWS: usize = if cfg!(target_family = "wasm") { 4 } else { 6 };

/// Tiles of a register block.
pub(crate) const LANES: usize = if cfg!(target_family = "wasm") { 8 } else { 16 };

/// Tiles transformed at a time. With fewer tiles the weights are read more often; more tiles do not fit the
/// cache.
pub(crate) const SEGMENT: usize = 64;

/// How the convolved picture derives from the one in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picture {
    /// It is the same.
    Same,
    /// Each pixel becomes 2 x 2.
    Twice,
}

impl Picture {
    /// The side of the convolved picture over that of the one in memory.
    pub(crate) fn scale(self) -> usize {
        match self {
            Self::Same => 1,
            Self::Twice => 2,
        }
    }

    /// The points, as row and column, where the transformed picture may differ from zero.
    pub(super) fn points(self) -> impl Iterator<Item = [usize; 2]> {
        let axis =
            move || (0..IN).filter(move |&point| self == Self::Same || point != ZERO_OF_PAIRS);
        axis().flat_map(move |row| axis().map(move |column| [row, column]))
    }
}

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) picture: Picture,
    /// Of the convolved picture, and of the output.
    pub(crate) height: usize,
    /// Of the convolved picture, and of the output.
    pub(crate) width: usize,
}

/// A rectangle of tiles, numbered row by row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiles {
    pub(super) first_row: usize,
    pub(super) first_column: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Tiles {
    /// Panels of [`LANES`] tiles.
    pub(super) fn panels(self) -> usize {
        (self.rows * self.columns).div_ceil(LANES)
    }
}
