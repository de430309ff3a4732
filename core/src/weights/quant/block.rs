//! The lengths of block types, and the scale of a block.

use half::f16;

/// Numbers in a block of the older types.
pub(super) const BLOCK: usize = 32;
/// Numbers in a block of the `K` types.
pub(super) const SUPER: usize = 256;

/// A block's scale, and what it is multiplied with for each 16 numbers.
pub(super) type Scales = (f32, [i8; 16]);

/// A block's scale or offset.
pub(super) fn half(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// 1/scale, with 0 for a block of zeros.
pub(super) fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// The number of largest magnitude, with its sign; the first of equals.
pub(super) fn largest(block: &[f32; BLOCK]) -> f32 {
    block
        .iter()
        .fold(0.0f32, |max, &v| if v.abs() > max.abs() { v } else { max })
}
