//! How both sides of a product of bytes are packed.

use crate::formats::GROUP;
use crate::integer::rounding::{COLUMNS, ROWS};

/// Four bytes; the first is the lowest.
pub type Quad = i32;

/// Quads of a group along the inner dimension.
pub const QUADS: usize = GROUP / 4;

/// Groups of inputs that share a scale: 128 numbers.
pub const SPAN: usize = 4;

/// When sums of 16 bits are widened to 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Widen {
    /// After a group.
    Group,
    /// After each pair of products.
    Pair,
}

/// 32 numbers of each input row.
#[derive(Debug, Clone, Copy)]
pub struct InputGroup {
    pub(super) quads: [[Quad; ROWS]; QUADS],
    pub(super) scales: [f32; ROWS],
    /// What the sums of products start at. It corrects for unsigned quants: minus the zero point times the
    /// sum of a row's numbers.
    pub(super) starts: [i32; ROWS],
    /// The sum of a row's numbers, for the offsets of the weights.
    pub(super) sums: [f32; ROWS],
}

/// 32 weights of each weight row. The alignment keeps a vector of quads within one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct WeightGroup {
    pub(in crate::integer) quads: [[Quad; COLUMNS]; QUADS],
    pub(in crate::integer) scales: [f32; COLUMNS],
    pub(in crate::integer) offsets: [f32; COLUMNS],
}
