//! Reading the types whose four bits look a number up in a table: IQ4_NL, IQ4_XS and MXFP4. They are
//! not written.

use super::block::{BLOCK, SUPER, half};

/// The numbers of IQ4: finer near zero.
const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
/// Twice a float of 4 bits (a sign, 2 bits of exponent, 1 of mantissa).
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The lower four bits of all bytes, then the upper four.
fn unpack(table: &[i8; 16], scale: f32, pairs: &[u8], values: &mut [f32]) {
    let (low, high) = values.split_at_mut(pairs.len());
    for (&pair, (low, high)) in pairs.iter().zip(low.iter_mut().zip(high)) {
        *low = scale * f32::from(table[usize::from(pair & 0x0f)]);
        *high = scale * f32::from(table[usize::from(pair >> 4)]);
    }
}

/// 18 bytes: an f16, 16 pairs.
pub(super) fn dequantize_iq4_nl([s0, s1, pairs @ ..]: &[u8; 18], values: &mut [f32; BLOCK]) {
    unpack(&IQ4, half([*s0, *s1]), pairs, values);
}

/// 136 bytes: an f16, the scales' upper two bits and lower four, less 32; 8 times 16 pairs.
pub(super) fn dequantize_iq4_xs(block: &[u8; 136], values: &mut [f32; SUPER]) {
    let step = half([block[0], block[1]]);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    let (lower, pairs) = block[4..].split_at(4);
    let subs = values.as_chunks_mut::<32>().0.iter_mut();
    for (i, (values, pairs)) in subs.zip(pairs.as_chunks::<16>().0).enumerate() {
        let low = (lower[i / 2] >> (4 * (i % 2))) & 0x0f;
        let high = ((upper >> (2 * i)) & 3) as u8;
        let scale = step * (f32::from(low | (high << 4)) - 32.0);
        unpack(&IQ4, scale, pairs, values);
    }
}

/// 17 bytes: a power of two (with the half that the table lacks), 16 pairs.
pub(super) fn dequantize_mxfp4([exponent, pairs @ ..]: &[u8; 17], values: &mut [f32; BLOCK]) {
    let bits = match *exponent {
        small @ 0..2 => 0x0020_0000 << small,
        exponent => u32::from(exponent - 1) << 23,
    };
    unpack(&FP4, f32::from_bits(bits), pairs, values);
}
