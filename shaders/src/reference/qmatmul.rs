//! ggml blocks expanded element by element, and the matmul on them.

use half::f16;

use crate::BlockType;

/// Blocks in ggml's layout as f32, in order.
///
/// # Panics
/// When `bytes` is not a whole number of blocks.
pub fn dequantize(bytes: &[u8], block_type: BlockType) -> Vec<f32> {
    let block_bytes = match block_type {
        BlockType::Q8_0 => 34,
        BlockType::Q4_0 => 18,
    };
    assert_eq!(bytes.len() % block_bytes, 0, "a part of a block is left");
    let mut out = Vec::new();
    for block in bytes.chunks_exact(block_bytes) {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        for element in 0..32 {
            let value = match block_type {
                BlockType::Q8_0 => i32::from(block[2 + element] as i8),
                BlockType::Q4_0 if element < 16 => i32::from(block[2 + element] & 15) - 8,
                BlockType::Q4_0 => i32::from(block[2 + element - 16] >> 4) - 8,
            };
            out.push(value as f32 * scale);
        }
    }
    out
}

/// `x [m, cols]` times the weight `[rows, cols]` transposed: `[m, rows]`.
///
/// # Panics
/// When the lengths are not multiples of `cols`.
pub fn qmatmul(x: &[f32], bytes: &[u8], block_type: BlockType, cols: usize) -> Vec<f32> {
    let weight = dequantize(bytes, block_type);
    assert!(x.len().is_multiple_of(cols) && weight.len().is_multiple_of(cols));
    let mut out = Vec::new();
    for x in x.chunks_exact(cols) {
        for weight in weight.chunks_exact(cols) {
            let dot: f64 = (x.iter().zip(weight))
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum();
            out.push(dot as f32);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scale 0.5.
    const HALF: [u8; 2] = [0x00, 0x38];

    #[test]
    fn q8_0_is_a_signed_byte_times_the_scale() {
        let mut bytes = HALF.to_vec();
        bytes.extend((0..32).map(|i| if i == 1 { 0x80 } else { i }));
        let values = dequantize(&bytes, BlockType::Q8_0);
        assert_eq!(values[..4], [0.0, -64.0, 1.0, 1.5]);
        assert_eq!(values[31], 15.5);
    }

    #[test]
    fn q4_0_keeps_the_second_half_in_the_high_nibbles() {
        let mut bytes = HALF.to_vec();
        bytes.extend([0x8f; 16]);
        bytes[3] = 0x09; // elements 1 and 17
        let values = dequantize(&bytes, BlockType::Q4_0);
        assert_eq!(values[..3], [3.5, 0.5, 3.5]);
        assert_eq!(values[16..19], [0.0, -4.0, 0.0]);
    }

    #[test]
    fn the_product_has_a_row_for_every_input_row() {
        let mut ones = HALF.to_vec();
        ones.extend([2u8; 32]); // 32 weights of 1
        let mut two_rows = ones.clone();
        two_rows.extend([0x00, 0x3c]); // scale 1
        two_rows.extend([2u8; 32]); // 32 weights of 2
        let mut x = vec![1.0; 32];
        x.extend([0.5; 32]);
        assert_eq!(
            qmatmul(&x, &two_rows, BlockType::Q8_0, 32),
            [32.0, 64.0, 16.0, 32.0]
        );
    }
}
