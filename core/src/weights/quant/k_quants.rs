//! Reading the `K` types other than Q4_K: 256 numbers in sub-blocks of 16 or 32. They are not
//! written.
//!
//! Q2_K, Q3_K and Q6_K keep two bits of each number in the same order: a byte holds those of the
//! numbers i, i + 32, i + 64 and i + 96 of one half of the block.

use super::block::{SUPER, Scales, half};
use super::q4_k::unpack_scale;

/// Numbers in a sub-block of Q2_K, Q3_K and Q6_K.
const SUB: usize = 16;

/// The two bits of number `i` in 64 bytes.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    let (half, quarter, at) = (i / 128, i / 32 % 4, i % 32);
    (bytes[half * 32 + at] >> (2 * quarter)) & 3
}

/// 84 bytes: a scale and an offset of 4 bits for each sub-block, two bits a number, two f16.
pub(super) fn dequantize_q2_k(block: &[u8; 84], values: &mut [f32; SUPER]) {
    let (scales, rest) = block.split_at(16);
    let (numbers, steps) = rest.split_at(64);
    let scale_step = half([steps[0], steps[1]]);
    let offset_step = half([steps[2], steps[3]]);
    for (i, value) in values.iter_mut().enumerate() {
        let packed = scales[i / SUB];
        let scale = scale_step * f32::from(packed & 0x0f);
        let offset = offset_step * f32::from(packed >> 4);
        *value = scale * f32::from(two_bits(numbers, i)) - offset;
    }
}

/// 110 bytes: a bit a number that adds 4, two bits a number, scales of 6 bits less 32, one f16;
/// numbers are less 4.
pub(super) fn dequantize_q3_k(block: &[u8; 110], values: &mut [f32; SUPER]) {
    let (thirds, rest) = block.split_at(32);
    let numbers = &rest[..64];
    let (step, factors) = q3_k_scales(block);
    for (i, value) in values.iter_mut().enumerate() {
        let scale = step * f32::from(factors[i / SUB]);
        let third = (thirds[i % 32] >> (i / 32)) & 1;
        *value = scale * (f32::from(two_bits(numbers, i) | (third << 2)) - 4.0);
    }
}

/// Q3_K's f16 and the scales of its sub-blocks.
pub(super) fn q3_k_scales(block: &[u8]) -> Scales {
    let (scales, step) = block[96..].split_at(12);
    let factors = std::array::from_fn(|sub| {
        let low = (scales[sub % 8] >> (4 * (sub / 8))) & 0x0f;
        let high = (scales[8 + sub % 4] >> (2 * (sub / 4))) & 3;
        (low | (high << 4)) as i8 - 32
    });
    (half([step[0], step[1]]), factors)
}

/// 176 bytes: as Q4_K, with the fifth bit of number `i` of each sub-block in byte `i` of 32.
pub(super) fn dequantize_q5_k(block: &[u8; 176], values: &mut [f32; SUPER]) {
    let scale_step = half([block[0], block[1]]);
    let offset_step = half([block[2], block[3]]);
    let (packed, rest) = block[4..].split_at(12);
    let (fifths, pairs) = rest.split_at(32);
    for (j, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, offset) = unpack_scale(packed, j);
        let (scale, offset) = (scale_step * scale, offset_step * offset);
        let numbers = pairs[j / 2 * 32..].iter().zip(fifths);
        for (value, (&pair, &fifths)) in values.iter_mut().zip(numbers) {
            let four = (pair >> (j % 2 * 4)) & 0x0f;
            let fifth = (fifths >> j) & 1;
            *value = scale * f32::from(four | (fifth << 4)) - offset;
        }
    }
}

/// 210 bytes: four bits a number, two bits a number, signed scales of 8 bits, one f16; numbers are
/// less 32.
pub(super) fn dequantize_q6_k(block: &[u8; 210], values: &mut [f32; SUPER]) {
    let (pairs, rest) = block.split_at(128);
    let (upper, rest) = rest.split_at(64);
    let (scales, step) = rest.split_at(16);
    let step = half([step[0], step[1]]);
    for (i, value) in values.iter_mut().enumerate() {
        let (half, high, at) = (i / 128, i / 64 % 2, i % 64);
        let four = (pairs[half * 64 + at] >> (4 * high)) & 0x0f;
        let scale = step * f32::from(scales[i / SUB] as i8);
        *value = scale * (f32::from(four | (two_bits(upper, i) << 4)) - 32.0);
    }
}
