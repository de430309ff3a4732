//! ggml's types of 1 to 3 bits, repacked to blocks that products read.
//!
//! A number of these types is a whole one times a scale that 16 or 32 of a row share, though it takes a code
//! book to find it. So 8 bits hold it exactly: 9 to 10 bits a weight with the scales, instead of f32's 32.
//! Left out: Q2_K, whose offsets differ between the halves of 32 numbers.

use x2i_shaders::BlockType;

use super::super::stored::StoredType;
use super::block::{Scales, half};
use super::{dequantize, iq, k_quants};

/// Numbers that share a factor.
const PART: usize = 16;
/// Numbers of one of our blocks.
const BLOCK: usize = 2 * PART;

/// Blocks of 256 numbers as those of `block_type`, which [`StoredType::as_blocks`] tells.
///
/// # Panics
/// For a type that is not repacked.
pub(in crate::weights) fn repack(
    bytes: &[u8],
    stored: StoredType,
    block_type: BlockType,
) -> Vec<u8> {
    let numbers = bytes.len() / stored.block_bytes() * stored.block_len();
    let mut blocks = Vec::with_capacity(numbers / BLOCK * block_type.bytes());
    for block in bytes.chunks_exact(stored.block_bytes()) {
        let (scale, factors) = scales(block, stored);
        let values = dequantize(block, stored);
        let groups = values.as_chunks::<BLOCK>().0.iter();
        for (values, &factors) in groups.zip(factors.as_chunks::<2>().0) {
            let number = |i: usize| (values[i] / (scale * f32::from(factors[i / PART]))).round();
            let numbers: [i8; BLOCK] = std::array::from_fn(|i| number(i) as i8);
            match block_type {
                BlockType::Int8Halves => {
                    block_type.push_halves(&numbers, scale, factors, &mut blocks)
                }
                _ => {
                    let unsigned = numbers.map(|number| number as u8 ^ 128);
                    let scale = scale * f32::from(factors[0]);
                    block_type.push_scaled(&unsigned, scale, 128, &mut blocks);
                }
            }
        }
    }
    blocks
}

/// The scales of one block.
fn scales(block: &[u8], stored: StoredType) -> Scales {
    match stored {
        StoredType::Q3K => k_quants::q3_k_scales(block),
        StoredType::TQ1_0 => (half([block[52], block[53]]), [1; 16]),
        StoredType::TQ2_0 => (half([block[64], block[65]]), [1; 16]),
        iq => iq::scales(block, iq),
    }
}
