//! Formats whose nibbles are places in a table of 16 numbers.
//!
//! Source: `kvalues_iq4nl` and `kvalues_mxfp4` of ggml (`ggml-common.h`), and the `dequantize_row_*` that read
//! them. ggml's numbers are whole, so that the CPU multiplies them like any other quants; a shader has the table
//! as a constant of f32. bitsandbytes' are floats ([`floats`](super::floats)).

use super::group::{GROUP, Group, Quant, group, half, nibbles, part};

/// A table that nibbles are places of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// IQ4_NL's and IQ4_XS's: finer near zero.
    Iq4,
    /// Twice MXFP4's floats of 4 bits: a sign, 2 bits of exponent, 1 of mantissa.
    Fp4,
    /// bitsandbytes' NF4: quantiles of a normal distribution.
    Nf4,
    /// bitsandbytes' FP4: a sign, 2 bits of exponent, 1 of mantissa, and the largest is 1.
    BnbFp4,
}

const IQ4: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
/// Source: `create_normal_map` of bitsandbytes, as its checkpoints have it.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
/// Source: `get_4bit_type` of bitsandbytes, twelve times too large.
const BNB_FP4: [f32; 16] = [
    0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0, 0.0, -0.0625, -8.0, -12.0, -4.0, -6.0, -2.0, -3.0,
];
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// What makes the numbers of [`IQ4`] unsigned.
pub(super) const IQ4_ZERO: u8 = 128;
/// What makes the numbers of [`FP4`] unsigned. Sums of a group's products then fit 16 bits.
pub(super) const FP4_ZERO: u8 = 12;

impl Table {
    /// The 16 numbers.
    pub fn values(self) -> [f32; 16] {
        match self {
            Self::Iq4 => IQ4.map(f32::from),
            Self::Fp4 => FP4.map(f32::from),
            Self::Nf4 => NF4,
            Self::BnbFp4 => BNB_FP4.map(|number| number / 12.0),
        }
    }

    /// The place of each number, by its lower byte; for tables of whole numbers.
    pub fn places(self) -> [u8; 256] {
        let mut places = [0; 256];
        // Of numbers that are there twice (0 and -0), the first place counts.
        for (place, value) in self.values().into_iter().enumerate().rev() {
            places[usize::from(value as i16 as u8)] = place as u8;
        }
        places
    }
}

/// A table's numbers, made unsigned.
const fn unsigned(table: [i8; 16], zero: u8) -> [u8; 16] {
    let mut out = [0; 16];
    let mut place = 0;
    while place < 16 {
        out[place] = (table[place] as i16 + zero as i16) as u8;
        place += 1;
    }
    out
}

/// The numbers of a table at 32 places. It compares with all 16 places, which compilers turn into vector
/// instructions, as they do not with indices.
#[inline(always)]
fn at(places: [u8; GROUP], table: [u8; 16]) -> [u8; GROUP] {
    let mut numbers = [0; GROUP];
    for (index, value) in table.into_iter().enumerate() {
        for (number, place) in numbers.iter_mut().zip(places) {
            *number |= if place == index as u8 { value } else { 0 };
        }
    }
    numbers
}

#[inline(always)]
fn iq4<Q: Quant>(pairs: &[u8; 16], scale: f32) -> Group<Q> {
    const TABLE: [u8; 16] = unsigned(IQ4, IQ4_ZERO);
    group(at(nibbles(pairs), TABLE), IQ4_ZERO, scale, 0.0)
}

#[inline(always)]
pub(super) fn iq4_nl<Q: Quant>(block: &[u8; 18]) -> Group<Q> {
    iq4(part(block, 2), half(block, 0))
}

/// An f16; of each group's scale the upper two bits, then the lower four, 32 too large; the nibbles.
#[inline(always)]
pub(super) fn iq4_xs<Q: Quant>(block: &[u8; 136], groups: &mut [Group<Q>]) {
    let upper = u16::from_le_bytes(*part(block, 2));
    for (index, group) in groups.iter_mut().enumerate() {
        let low = block[4 + index / 2] >> (index % 2 * 4) & 15;
        let high = (upper >> (2 * index) & 3) as u8;
        let factor = f32::from(low | high << 4) - 32.0;
        *group = iq4(part(block, 8 + 16 * index), half(block, 0) * factor);
    }
}

#[inline(always)]
pub(super) fn mxfp4<Q: Quant>(block: &[u8; 17]) -> Group<Q> {
    const TABLE: [u8; 16] = unsigned(FP4, FP4_ZERO);
    let scale = half_power(block[0]);
    group(at(nibbles(part(block, 1)), TABLE), FP4_ZERO, scale, 0.0)
}

/// `2^(exponent - 128)`: MXFP4's power of two, and the half that [`FP4`] is too large by.
#[inline(always)]
fn half_power(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        small @ 0..2 => 0x0020_0000 << small, // below the smallest normal number
        exponent => u32::from(exponent - 1) << 23,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_s_place_holds_the_number() {
        for table in [Table::Iq4, Table::Fp4] {
            let places = table.places();
            for value in table.values() {
                let place = places[usize::from(value as i16 as u8)];
                assert_eq!(table.values()[usize::from(place)], value, "{table:?}");
            }
        }
    }

    #[test]
    fn half_powers_are_powers_of_two_down_to_the_smallest() {
        for exponent in 0..=255 {
            let expected = 2f64.powi(i32::from(exponent) - 128);
            assert_eq!(f64::from(half_power(exponent)), expected);
        }
    }
}
