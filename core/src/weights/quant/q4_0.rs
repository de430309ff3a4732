//! Q4_0 and Q4_1: 16 bytes that hold number i low and number i + 16 high, behind the scale as f16
//! and, in Q4_1, the smallest value as f16.

use half::f16;

use super::block::{BLOCK, half, inverse, largest};

pub(super) fn quantize(block: &[f32; BLOCK]) -> [u8; 18] {
    // The number of largest magnitude, with its sign, becomes exactly -8.
    let scale = largest(block) / -8.0;
    let inverse = inverse(scale);
    let four_bits = |v: f32| ((v * inverse + 8.5) as i8 as u8).min(15);
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    let (low, high) = block.split_at(BLOCK / 2);
    for (byte, (&low, &high)) in bytes[2..].iter_mut().zip(low.iter().zip(high)) {
        *byte = four_bits(low) | (four_bits(high) << 4);
    }
    bytes
}

pub(super) fn dequantize([s0, s1, pairs @ ..]: &[u8; 18], values: &mut [f32; BLOCK]) {
    let scale = half([*s0, *s1]);
    unpack(pairs, values, |bits| (bits - 8.0) * scale);
}

pub(super) fn dequantize_q4_1([s0, s1, m0, m1, pairs @ ..]: &[u8; 20], values: &mut [f32; BLOCK]) {
    let (scale, smallest) = (half([*s0, *s1]), half([*m0, *m1]));
    unpack(pairs, values, |bits| bits * scale + smallest);
}

fn unpack(pairs: &[u8; BLOCK / 2], values: &mut [f32; BLOCK], number: impl Fn(f32) -> f32) {
    let (low, high) = values.split_at_mut(BLOCK / 2);
    for (&pair, (low, high)) in pairs.iter().zip(low.iter_mut().zip(high)) {
        *low = number(f32::from(pair & 0x0f));
        *high = number(f32::from(pair >> 4));
    }
}
