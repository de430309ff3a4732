//! Formats of our own: 32 whole numbers with a scale of f32, and with a zero point of their own where they
//! need one.
//!
//! Other libraries (AutoAWQ, GPTQ, compressed-tensors, ComfyUI, bitsandbytes) keep numbers and scales in
//! tensors of different layouts; their weights are repacked to these blocks. A block is the scale, the zero
//! point if there is one, and the unsigned numbers: bytes, or nibbles in ggml's order. The weight is
//! `(number - zero) * scale`, exact in f32 where the scale has 16 bits. `Int8Halves`, for ggml's types of few
//! bits, has signed numbers and two factors of its scale, as Q6_K has. Left out: making blocks
//! ([`push`](super::push)).

use super::group::{GROUP, Group, Quant, group, halves, nibbles, part};

/// The zero points of the symmetric formats.
pub(super) const INT4_ZERO: u8 = 8;
pub(super) const INT8_ZERO: u8 = 128;

/// The numbers of a block of `Int8Halves`, and its factors.
#[inline(always)]
pub fn int8_halves_group(block: &[u8; 38]) -> ([i16; GROUP], [i8; 2]) {
    let numbers = part::<GROUP>(block, 6).map(|number| i16::from(number as i8));
    (numbers, [block[4] as i8, block[5] as i8])
}

#[inline(always)]
pub(super) fn int8_halves<Q: Quant>(block: &[u8; 38]) -> Group<Q> {
    halves(int8_halves_group(block), scale(block))
}

/// The scale that a block begins with.
#[inline(always)]
pub fn scale(block: &[u8]) -> f32 {
    f32::from_le_bytes(*part(block, 0))
}

#[inline(always)]
pub(super) fn int4<Q: Quant>(block: &[u8; 20]) -> Group<Q> {
    group(nibbles(part(block, 4)), INT4_ZERO, scale(block), 0.0)
}

#[inline(always)]
pub(super) fn int4_zero<Q: Quant>(block: &[u8; 21]) -> Group<Q> {
    let offset = -scale(block) * f32::from(block[4]);
    group(nibbles(part(block, 5)), 0, scale(block), offset)
}

#[inline(always)]
pub(super) fn int8<Q: Quant>(block: &[u8; 36]) -> Group<Q> {
    group(*part(block, 4), INT8_ZERO, scale(block), 0.0)
}

#[inline(always)]
pub(super) fn int8_zero<Q: Quant>(block: &[u8; 37]) -> Group<Q> {
    let offset = scale(block) * (f32::from(INT8_ZERO) - f32::from(block[4]));
    group(*part(block, 5), INT8_ZERO, scale(block), offset)
}
