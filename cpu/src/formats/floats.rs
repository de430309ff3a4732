//! Floats of 8 and 16 bits as f32, by their bits: the compiler vectorizes it, and no f32 on the way is below the
//! smallest exponent, which would be slow or taken for zero. Floats of four bits, from a table.
//!
//! Source: "FP8 Formats for Deep Learning" (Micikevicius et al., 2022).

use half::{bf16, f16};

use super::block_type::BlockType;
use super::group::{GROUP, nibbles, part};

/// Widens the blocks of a row.
///
/// # Panics
/// For blocks of whole numbers.
#[inline(always)]
pub fn widen_row(row: &[u8], block_type: BlockType, out: &mut [f32]) {
    match block_type {
        BlockType::F8E4M3 => widen_all(row, 4, out),
        BlockType::F8E5M2 => widen_all(row, 5, out),
        BlockType::F16 => widen_halves(row, |bits| f16::from_bits(bits).to_f32(), out),
        BlockType::BF16 => widen_halves(row, |bits| bf16::from_bits(bits).to_f32(), out),
        BlockType::NF4 | BlockType::FP4 => {
            let table = block_type.float_table().expect("it has a table");
            look_up(row, &table, out);
        }
        other => unreachable!("{other:?} has quants"),
    }
}

#[inline(always)]
fn look_up(row: &[u8], table: &[f32; 16], out: &mut [f32]) {
    let blocks = row.as_chunks::<20>().0.iter();
    for (block, out) in blocks.zip(out.as_chunks_mut::<GROUP>().0) {
        let scale = f32::from_le_bytes(*part(block, 0));
        for (out, place) in out.iter_mut().zip(nibbles(part(block, 4))) {
            *out = table[usize::from(place)] * scale;
        }
    }
}

#[inline(always)]
fn widen_halves(row: &[u8], widen: impl Fn(u16) -> f32, out: &mut [f32]) {
    for (out, &bytes) in out.iter_mut().zip(row.as_chunks().0) {
        *out = widen(u16::from_le_bytes(bytes));
    }
}

#[inline(always)]
fn widen_all(bytes: &[u8], exponent: u8, out: &mut [f32]) {
    for (out, &byte) in out.iter_mut().zip(bytes) {
        *out = widen(byte, exponent);
    }
}

/// A sign, so many bits of exponent, and a mantissa. With 4 bits of exponent the largest magnitude is NaN, with
/// 5 the largest exponent is infinite or NaN.
#[inline(always)]
pub fn widen(byte: u8, exponent: u8) -> f32 {
    /// Bits of an f32's mantissa.
    const MANTISSA: u32 = 23;
    let exponent = u32::from(exponent);
    let magnitude = u32::from(byte & 0x7f);
    let mantissa = magnitude << (MANTISSA - 7 + exponent);
    let least = (128 - (1 << (exponent - 1))) << MANTISSA; // the difference of the biases
    let step = least + (1 << MANTISSA);
    let small = f32::from_bits(mantissa + step) - f32::from_bits(step);
    let values = match magnitude < 1 << (7 - exponent) {
        true => small.to_bits(),
        false => mantissa + least,
    };
    let most = if exponent == 4 { 0x7f } else { 0x7c };
    let values = match magnitude >= most {
        true => mantissa | 0xff << MANTISSA,
        false => values,
    };
    f32::from_bits(values | u32::from(byte & 0x80) << 24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_the_number_of_its_bits() {
        for byte in 0..=255u8 {
            // The upper byte of an f16.
            let expected = f16::from_bits(u16::from(byte) << 8).to_f32();
            let found = widen(byte, 5);
            assert!(
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                "E5M2 {byte:#x}: {found} {expected}"
            );
            // An f16 of the other bias, 8 less.
            let magnitude = f16::from_bits(u16::from(byte & 0x7f) << 7).to_f32() * 256.0;
            let sign = if byte < 0x80 { 1.0 } else { -1.0 };
            let expected = match byte & 0x7f {
                0x7f => f32::NAN,
                _ => magnitude * sign,
            };
            let found = widen(byte, 4);
            assert!(
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                "E4M3 {byte:#x}: {found} {expected}"
            );
        }
    }
}
