//! How both sides of a product of words are packed.

use crate::formats::GROUP;
use crate::integer::rounding::{COLUMNS, ROWS};

/// Two numbers of 16 bits; the first is the low half.
pub type Pair = i32;

/// Pairs of a group along the inner dimension.
pub const PAIRS: usize = GROUP / 2;

/// 32 numbers of each input row.
#[derive(Debug, Clone, Copy)]
pub struct InputGroup {
    pub(super) pairs: [[Pair; ROWS]; PAIRS],
    /// The sum of a row's numbers, for the offsets of the weights.
    pub(super) sums: [f32; ROWS],
}

/// 32 weights of each weight row. The alignment keeps a vector of pairs within one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct WeightGroup {
    pub(super) pairs: [[Pair; COLUMNS]; PAIRS],
    pub(super) scales: [f32; COLUMNS],
    /// `None` where the format has no offsets.
    pub(super) offsets: Option<[f32; COLUMNS]>,
}
