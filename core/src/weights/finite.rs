//! Whether numbers are finite, told by their bits.
//!
//! A float is not when its exponent is all ones. A block's numbers are products of its f16 scales with
//! small whole numbers: they are finite exactly when the scales are, so that only these are looked at.
//! Types without such a rule are dequantized, which is the oracle of all others.

use super::quant;
use super::stored::StoredType;

/// True when all numbers are finite. `bytes` holds whole numbers or blocks.
pub fn all_finite(bytes: &[u8], stored: StoredType) -> bool {
    use StoredType as T;
    match stored {
        T::F32 => floats(bytes.as_chunks().0, 0x7f80_0000, u32::from_le_bytes),
        T::F16 => floats(bytes.as_chunks().0, 0x7c00, u16::from_le_bytes),
        T::BF16 => floats(bytes.as_chunks().0, 0x7f80, u16::from_le_bytes),
        T::F8E4M3 => floats(bytes.as_chunks().0, 0x7f, u8::from_le_bytes),
        T::F8E5M2 => floats(bytes.as_chunks().0, 0x7c, u8::from_le_bytes),
        T::I64 | T::I32 | T::I16 | T::I8 | T::U64 | T::U32 | T::U16 | T::U8 | T::Bool => true,
        blocks => match scales(blocks) {
            [] => dequantized(bytes, blocks),
            at => bytes
                .chunks_exact(blocks.block_bytes())
                .all(|block| at.iter().all(|&at| half(block, at))),
        },
    }
}

/// Numbers that are compared without a branch, so that the compiler takes vectors.
const RUN: usize = 1 << 12;

/// Whether no number has all bits of `exponent`.
fn floats<const N: usize, U>(numbers: &[[u8; N]], exponent: U, bits: fn([u8; N]) -> U) -> bool
where
    U: Copy + Ord + Default + std::ops::BitAnd<Output = U>,
{
    let most = |run: &[[u8; N]]| {
        let exponents = run.iter().map(|&number| bits(number) & exponent);
        exponents.fold(U::default(), U::max)
    };
    numbers.chunks(RUN).all(|run| most(run) < exponent)
}

/// Whether the f16 at a byte of a block is finite.
fn half(block: &[u8], at: usize) -> bool {
    block[at + 1] & 0x7c != 0x7c
}

/// Where a block holds its f16 scales; empty where its numbers are not products of such.
fn scales(stored: StoredType) -> &'static [usize] {
    use StoredType as T;
    match stored {
        T::Q4_0 | T::Q5_0 | T::Q8_0 | T::Q8_1 | T::IQ4NL | T::IQ4XS => &[0],
        T::IQ3S | T::IQ3XXS | T::IQ2S | T::IQ2XS | T::IQ2XXS | T::IQ1S => &[0],
        T::Q4_1 | T::Q5_1 | T::Q4K | T::Q5K => &[0, 2],
        T::Q2K => &[80, 82],
        T::Q3K => &[108],
        T::Q6K => &[208],
        T::TQ1_0 => &[52],
        T::TQ2_0 => &[64],
        _ => &[],
    }
}

fn dequantized(bytes: &[u8], stored: StoredType) -> bool {
    let values = quant::dequantize(bytes, stored);
    values.iter().all(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [StoredType; 39] = {
        use StoredType as T;
        [
            T::F64,
            T::F32,
            T::F16,
            T::BF16,
            T::F8E4M3,
            T::F8E5M2,
            T::I64,
            T::I32,
            T::I16,
            T::I8,
            T::U64,
            T::U32,
            T::U16,
            T::U8,
            T::Bool,
            T::Q8_0,
            T::Q4_0,
            T::Q4_1,
            T::Q5_0,
            T::Q5_1,
            T::Q2K,
            T::Q3K,
            T::Q4K,
            T::Q5K,
            T::Q6K,
            T::Q8_1,
            T::Q8K,
            T::IQ4NL,
            T::IQ4XS,
            T::IQ3S,
            T::IQ3XXS,
            T::IQ2S,
            T::IQ2XS,
            T::IQ2XXS,
            T::IQ1M,
            T::IQ1S,
            T::TQ2_0,
            T::TQ1_0,
            T::MXFP4,
        ]
    };

    /// Random bytes, of which every exponent is all ones now and then.
    fn random(bytes: usize, state: &mut u64) -> Vec<u8> {
        let mut byte = || {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            match *state >> 60 {
                0 => 0x7f,
                1 => 0xff,
                _ => (*state >> 32) as u8,
            }
        };
        (0..bytes).map(|_| byte()).collect()
    }

    #[test]
    fn bits_and_numbers_agree_for_every_type() {
        let mut state = 7;
        for stored in TYPES {
            let mut found = [0; 2];
            for _ in 0..2000 {
                let block = random(stored.block_bytes(), &mut state);
                let finite = all_finite(&block, stored);
                assert_eq!(finite, dequantized(&block, stored), "{stored} {block:x?}");
                found[usize::from(finite)] += 1;
            }
            assert!(found[1] > 0, "{stored} is never finite");
        }
    }

    #[test]
    fn one_number_among_many_is_found_at_any_place() {
        for at in [0, 1, RUN - 1, RUN, 3 * RUN + 5] {
            let mut numbers = vec![1f32; 3 * RUN + 6];
            numbers[at] = f32::NEG_INFINITY;
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            assert!(!all_finite(&bytes, StoredType::F32), "{at}");
        }
        assert!(all_finite(&f32::MAX.to_le_bytes(), StoredType::F32));
    }
}
