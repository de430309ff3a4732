//! How inputs are rounded to whole numbers, and the shape of the tiles that are multiplied.

use std::ops::Range;

use super::blocks::Weights;
use crate::formats::{GROUP, Group, Quant};

/// Groups along the inner dimension that are multiplied at a time: 512 numbers. So much of a panel of
/// weights stays in the first-level cache.
pub const CHUNK: usize = 512 / GROUP;

/// Input rows of a tile.
pub const ROWS: usize = 4;

/// Weight rows of a tile, and of a panel. On x86-64 they are two vectors of AVX-512, whose sums, with [`ROWS`], fill a
/// quarter of its registers: each input is loaded for two products, which is 1.3 times as fast as for one. AVX2 takes
/// half of them at a time.
pub const COLUMNS: usize = if cfg!(target_family = "wasm") {
    8
} else if cfg!(target_arch = "x86_64") {
    32
} else {
    16
};

/// The sums of a tile: `[input rows, weight rows]`.
pub type Sums = [[f32; COLUMNS]; ROWS];

/// How weights are unpacked to panels of [`COLUMNS`] rows.
pub trait Panels: Sync {
    /// The type of unpacked quants.
    type Quant: Quant;
    /// 32 weights of each of [`COLUMNS`] weight rows.
    type WeightGroup: Copy + Send + Sync;
    /// An empty group, which packing fills.
    const NO_WEIGHTS: Self::WeightGroup;

    /// Unpacks and packs all rows of a panel at once, in a way that the format and the machine have in common. Returns
    /// false and does nothing where there is none; [`ROWS`] of them are then unpacked and packed at a time.
    fn unpack_panel(
        &self,
        _weights: &Weights<'_>,
        _rows: Range<usize>,
        _panel: &mut [Self::WeightGroup],
    ) -> bool {
        false
    }

    /// Packs [`ROWS`] weight rows into `out`, the first of them as row `first`.
    fn pack_weights(
        &self,
        rows: [&Group<Self::Quant>; ROWS],
        first: usize,
        out: &mut Self::WeightGroup,
    );
}

/// A format of rounded inputs. It determines how both sides are packed and multiplied.
pub trait Rounding: Panels {
    /// 32 numbers of each of [`ROWS`] input rows.
    type InputGroup: Copy + Send + Sync;
    /// An empty group, which packing fills.
    const NO_INPUTS: Self::InputGroup;

    /// Rounds and packs a chunk of all rows. Returns the scale of each row.
    fn pack_inputs(&self, rows: [&[f32]; ROWS], out: &mut [Self::InputGroup]) -> [f32; ROWS];

    /// Adds the products of a chunk to `sums`, those of each input row times its scale.
    fn add_products(
        &self,
        inputs: &[Self::InputGroup],
        weights: &[Self::WeightGroup],
        input_scales: &[f32; ROWS],
        sums: &mut Sums,
    );
}

/// The name of a vector unit, and a function that adds its products; it returns false where the machine
/// lacks the unit.
#[cfg(test)]
pub type Unit<'a> = (&'static str, &'a dyn Fn(&mut Sums) -> bool);

/// Checks every unit that this machine has: added to ones, its products must give `expected`.
///
/// f32 sums of six terms differ with the order of the terms.
#[cfg(test)]
#[track_caller]
pub fn assert_units_give(expected: &Sums, case: &str, units: &[Unit<'_>]) {
    const TOLERANCE: f32 = 1e-6;
    let expected = expected.as_flattened();
    let largest = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    for (unit, add) in units {
        let mut sums = [[1.0; COLUMNS]; ROWS];
        if !add(&mut sums) {
            continue;
        }
        for (found, expected) in sums.as_flattened().iter().zip(expected) {
            assert!(
                (found - expected).abs() <= TOLERANCE * largest,
                "{unit}, {case}: {found}, plain Rust has {expected}"
            );
        }
    }
}
