//! Q5_0 and Q5_1: as Q4_0 and Q4_1, with the fifth bits of all 32 numbers in four bytes before the
//! other four. They are not written.

use super::block::{BLOCK, half};

pub(super) fn dequantize_q5_0(
    [s0, s1, b0, b1, b2, b3, pairs @ ..]: &[u8; 22],
    values: &mut [f32; BLOCK],
) {
    let scale = half([*s0, *s1]);
    let fifths = u32::from_le_bytes([*b0, *b1, *b2, *b3]);
    unpack(fifths, pairs, values, |bits| (bits - 16.0) * scale);
}

pub(super) fn dequantize_q5_1(
    [s0, s1, m0, m1, b0, b1, b2, b3, pairs @ ..]: &[u8; 24],
    values: &mut [f32; BLOCK],
) {
    let (scale, smallest) = (half([*s0, *s1]), half([*m0, *m1]));
    let fifths = u32::from_le_bytes([*b0, *b1, *b2, *b3]);
    unpack(fifths, pairs, values, |bits| bits * scale + smallest);
}

fn unpack(
    fifths: u32,
    pairs: &[u8; BLOCK / 2],
    values: &mut [f32; BLOCK],
    number: impl Fn(f32) -> f32,
) {
    for (i, value) in values.iter_mut().enumerate() {
        let four = (pairs[i % 16] >> (i / 16 * 4)) & 0x0f;
        let fifth = (fifths >> i) as u8 & 1;
        *value = number(f32::from(four | (fifth << 4)));
    }
}
