//! Reading ggml's types of 1 to 3 bits, whose magnitudes stand in [code books](super::grid): 256 numbers
//! with one f16 and scales of 3 or 4 bits. They are not written: that needs an importance matrix.

use super::super::stored::StoredType;
use super::block::{SUPER, Scales, half};
use super::grid::{self, even_signs, sign};

/// Four bits of a run of nibbles, the lower of a byte first.
fn nibble(bytes: &[u8], i: usize) -> f32 {
    f32::from((bytes[i / 2] >> (4 * (i % 2))) & 0x0f)
}

fn word(bytes: &[u8], i: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|byte| bytes[4 * i + byte]))
}

fn short(bytes: &[u8], i: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]])
}

/// Writes magnitudes with their signs, the first of which is bit `bit`.
fn put<const N: usize>(values: &mut [f32; N], scale: f32, entry: [f32; N], signs: u8, bit: usize) {
    for (i, (value, magnitude)) in values.iter_mut().zip(entry).enumerate() {
        *value = scale * magnitude * sign(signs, bit + i);
    }
}

/// 66 bytes: an f16; for each 32 numbers four entries, then 7 bits of signs each and a scale.
pub(super) fn dequantize_iq2_xxs(block: &[u8; 66], values: &mut [f32; SUPER]) {
    let step = half([block[0], block[1]]);
    for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let (sub, part) = (i / 4, i % 4);
        let packed = word(&block[2..], 2 * sub + 1);
        let scale = step * (0.5 + (packed >> 28) as f32) * 0.25;
        let entry = grid::IQ2_XXS.entry(block[2 + 8 * sub + part].into());
        put(values, scale, entry, even_signs(packed >> (7 * part)), 0);
    }
}

/// 74 bytes: an f16, 32 times an entry of 9 bits and 7 of signs, 16 scales.
pub(super) fn dequantize_iq2_xs(block: &[u8; 74], values: &mut [f32; SUPER]) {
    let step = half([block[0], block[1]]);
    let (numbers, scales) = block[2..].split_at(64);
    for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let packed = short(numbers, i);
        let scale = step * (0.5 + nibble(scales, i / 2)) * 0.25;
        let entry = grid::IQ2_XS.entry((packed & 511).into());
        put(values, scale, entry, even_signs((packed >> 9).into()), 0);
    }
}

/// 82 bytes: an f16, 32 entries' lower 8 bits, their signs, their upper 2 bits, 16 scales.
pub(super) fn dequantize_iq2_s(block: &[u8; 82], values: &mut [f32; SUPER]) {
    let step = half([block[0], block[1]]);
    let (low, rest) = block[2..].split_at(32);
    let (signs, rest) = rest.split_at(32);
    let (high, scales) = rest.split_at(8);
    for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let upper = (high[i / 4] >> (2 * (i % 4))) & 3;
        let index = usize::from(low[i]) | (usize::from(upper) << 8);
        let scale = step * (0.5 + nibble(scales, i / 2)) * 0.25;
        put(values, scale, grid::IQ2_S.entry(index), signs[i], 0);
    }
}

/// 98 bytes: an f16, 64 entries; for each 32 numbers four times 7 bits of signs, and a scale.
pub(super) fn dequantize_iq3_xxs(block: &[u8; 98], values: &mut [f32; SUPER]) {
    let step = half([block[0], block[1]]);
    let (entries, rest) = block[2..].split_at(64);
    for (i, values) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let packed = word(rest, i / 8);
        let scale = step * (0.5 + (packed >> 28) as f32) * 0.5;
        let signs = even_signs(packed >> (7 * (i / 2 % 4)));
        let entry = grid::IQ3_XXS.entry(entries[i].into());
        put(values, scale, entry, signs, 4 * (i % 2));
    }
}

/// 110 bytes: an f16, 64 entries' lower 8 bits, their ninth bits, the signs, 8 scales.
pub(super) fn dequantize_iq3_s(block: &[u8; 110], values: &mut [f32; SUPER]) {
    let step = half([block[0], block[1]]);
    let (low, rest) = block[2..].split_at(64);
    let (ninths, rest) = rest.split_at(8);
    let (signs, scales) = rest.split_at(32);
    for (i, values) in values.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let ninth = (ninths[i / 8] >> (i % 8)) & 1;
        let index = usize::from(low[i]) | (usize::from(ninth) << 8);
        let scale = step * (1.0 + 2.0 * nibble(scales, i / 8));
        let entry = grid::IQ3_S.entry(index);
        put(values, scale, entry, signs[i / 2], 4 * (i % 2));
    }
}

/// The shift of all numbers of a group in the types of one bit.
fn shift(is_negative: bool) -> f32 {
    if is_negative { -0.125 } else { 0.125 }
}

/// 50 bytes: an f16, 32 entries' lower 8 bits; for each 32 numbers four times 3 upper bits, a scale
/// and the sign of the shift.
pub(super) fn dequantize_iq1_s(block: &[u8; 50], values: &mut [f32; SUPER]) {
    let step = half([block[0], block[1]]);
    let (low, rest) = block[2..].split_at(32);
    for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let packed = short(rest, i / 4);
        let scale = step * f32::from(2 * ((packed >> 12) & 7) + 1);
        let upper = (packed >> (3 * (i % 4))) & 7;
        let entry = grid::IQ1.entry::<8>(usize::from(low[i]) | (usize::from(upper) << 8));
        let shift = shift(packed & 0x8000 != 0);
        for (value, number) in values.iter_mut().zip(entry) {
            *value = scale * (number + shift);
        }
    }
}

/// 56 bytes: 32 entries' lower 8 bits, their upper 3 bits with the sign of the shift, 16 scales of 3
/// bits; the f16 is in the upper four bits of the scales' four words.
pub(super) fn dequantize_iq1_m(block: &[u8; 56], values: &mut [f32; SUPER]) {
    let (low, rest) = block.split_at(32);
    let (upper, scales) = rest.split_at(16);
    let step = iq1_m_step(block);
    for (i, values) in values.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let packed = upper[i / 2] >> (4 * (i % 2));
        let scale = (short(scales, i / 8) >> (3 * (i / 2 % 4))) & 7;
        let scale = step * f32::from(2 * scale + 1);
        let entry = grid::IQ1.entry::<8>(usize::from(low[i]) | (usize::from(packed & 7) << 8));
        let shift = shift(packed & 8 != 0);
        for (value, number) in values.iter_mut().zip(entry) {
            *value = scale * (number + shift);
        }
    }
}

/// A block's scale, and for each 16 numbers an odd factor: what its numbers are whole multiples of. Magnitudes
/// are whole, but in the types of one bit, where numbers with their shift are whole eighths.
pub(super) fn scales(block: &[u8], stored: StoredType) -> Scales {
    let step = half([block[0], block[1]]);
    let odd = |bits: u32| 2 * (bits & 15) as i8 + 1;
    let of_16 = |bits: &dyn Fn(usize) -> u32| std::array::from_fn(|part| odd(bits(part)));
    let of_32 = |bits: &dyn Fn(usize) -> u32| std::array::from_fn(|part| odd(bits(part / 2)));
    let nibble = |start: usize, i: usize| nibble(&block[start..], i) as u32;
    let short = |start: usize, i: usize| u32::from(short(&block[start..], i));
    match stored {
        StoredType::IQ3XXS => (step * 0.25, of_32(&|i| word(&block[66..], i) >> 28)),
        StoredType::IQ3S => (step, of_32(&|i| nibble(106, i))),
        StoredType::IQ2XXS => (step * 0.125, of_32(&|i| word(&block[2..], 2 * i + 1) >> 28)),
        StoredType::IQ2XS => (step * 0.125, of_16(&|i| nibble(66, i))),
        StoredType::IQ2S => (step * 0.125, of_16(&|i| nibble(74, i))),
        StoredType::IQ1S => (step * 0.125, of_32(&|i| short(34, i) >> 12 & 7)),
        StoredType::IQ1M => {
            let factors = of_16(&|i| short(48, i / 4) >> (3 * (i % 4)) & 7);
            (iq1_m_step(block) * 0.125, factors)
        }
        other => unreachable!("{other} has no code book"),
    }
}

/// The f16 in the upper four bits of the scales' four words.
fn iq1_m_step(block: &[u8]) -> f32 {
    let bits = (0..4).fold(0, |bits, i| {
        bits | ((short(&block[48..], i) >> 12) << (4 * i))
    });
    half(bits.to_le_bytes())
}
