//! ggml's blocks dequantized element by element, and the matmul on them.

use half::{bf16, f16};

use super::linear::linear;
use x2i_cpu::formats::BlockType;

/// What the nibbles of IQ4_NL and IQ4_XS stand for.
const IQ4: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

/// What the lower three bits of MXFP4's nibbles stand for; the fourth is the sign.
const FP4: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The weights of blocks in ggml's layout, in order.
///
/// # Panics
/// When `bytes` is not a whole number of blocks.
pub fn dequantize(bytes: &[u8], block_type: BlockType) -> Vec<f32> {
    assert_eq!(
        bytes.len() % block_type.bytes(),
        0,
        "a part of a block is left"
    );
    let blocks = bytes.chunks_exact(block_type.bytes());
    let elements = (0..block_type.len()).map(|i| move |block: &[u8]| element(block, i, block_type));
    blocks
        .flat_map(|block| elements.clone().map(move |element| element(block)))
        .collect()
}

/// Element `i` of a block.
fn element(block: &[u8], i: usize, block_type: BlockType) -> f32 {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    // A nibble of the 16 bytes from `at` on; the high nibbles are elements 16 to 31.
    let nibble = |at: usize| f32::from(block[at + i % 16] >> (i / 16 * 4) & 15);
    let bit = |at: usize| f32::from(block[at + i / 8] >> (i % 8) & 1);
    let scale = || f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    match block_type {
        BlockType::Int4 => scale() * (nibble(4) - 8.0),
        BlockType::Int4Zero => scale() * (nibble(5) - f32::from(block[4])),
        BlockType::Int8 => scale() * (f32::from(block[4 + i]) - 128.0),
        BlockType::Int8Zero => scale() * (f32::from(block[5 + i]) - f32::from(block[4])),
        BlockType::Int8Halves => {
            let factor = block[4 + i / 16] as i8;
            scale() * f32::from(factor) * f32::from(block[6 + i] as i8)
        }
        BlockType::Q4_0 => half(0) * (nibble(2) - 8.0),
        BlockType::Q4_1 => half(0) * nibble(4) + half(2),
        BlockType::Q5_0 => half(0) * (nibble(6) + 16.0 * bit(2) - 16.0),
        BlockType::Q5_1 => half(0) * (nibble(8) + 16.0 * bit(4)) + half(2),
        BlockType::Q8_0 => half(0) * f32::from(block[2 + i] as i8),
        BlockType::Q4K | BlockType::Q5K => k_element(block, i, block_type),
        BlockType::Q6K => {
            let (part, place) = (i / 128, i % 128); // two halves of four rows of 32
            let (row, column) = (place / 32, place % 32);
            let low = block[part * 64 + row % 2 * 32 + column] >> (row / 2 * 4) & 15;
            let high = block[128 + part * 32 + column] >> (row * 2) & 3;
            let quant = i32::from(low) + 16 * i32::from(high) - 32;
            let scale = block[192 + i / 16] as i8;
            half(208) * f32::from(scale) * quant as f32
        }
        BlockType::F16 => half(2 * i),
        BlockType::BF16 => bf16::from_le_bytes([block[2 * i], block[2 * i + 1]]).to_f32(),
        BlockType::F8E4M3 => float8(block[i], 3, 0x7f),
        BlockType::F8E5M2 => float8(block[i], 2, 0x7c),
        BlockType::NF4 | BlockType::FP4 => float4(block, nibble(4) as usize, block_type),
        BlockType::IQ4NL => half(0) * IQ4[nibble(2) as usize],
        BlockType::IQ4XS => {
            let (group, place) = (i / 32, i % 32);
            let quant = block[8 + 16 * group + place % 16] >> (place / 16 * 4) & 15;
            let low = block[4 + group / 2] >> (group % 2 * 4) & 15;
            let high = block[2 + group / 4] >> (group % 4 * 2) & 3;
            let scale = f32::from(low) + 16.0 * f32::from(high) - 32.0;
            half(0) * scale * IQ4[usize::from(quant)]
        }
        BlockType::MXFP4 => {
            let quant = nibble(1) as usize;
            let magnitude = 2f32.powi(i32::from(block[0]) - 127) * FP4[quant % 8];
            if quant < 8 { magnitude } else { -magnitude }
        }
    }
}

/// Number `place` of the format's table, times the f32 at the start of the block.
fn float4(block: &[u8], place: usize, block_type: BlockType) -> f32 {
    let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    let table = block_type.float_table().expect("it has a table");
    table[place] * scale
}

/// A float of 8 bits with so many bits of mantissa; magnitudes from `most` on are infinite or no numbers.
fn float8(byte: u8, mantissa: u32, most: u8) -> f32 {
    let sign = if byte < 0x80 { 1.0 } else { -1.0 };
    let magnitude = byte & 0x7f;
    match magnitude {
        0x7c if most == 0x7c => return sign * f32::INFINITY,
        _ if magnitude >= most => return f32::NAN,
        _ => {}
    }
    let (exponent, fraction) = (
        i32::from(magnitude >> mantissa),
        f32::from(magnitude % (1 << mantissa)) / (1 << mantissa) as f32,
    );
    let bias = (1 << (6 - mantissa)) - 1;
    sign * match exponent {
        0 => fraction * 2f32.powi(1 - bias),
        _ => (1.0 + fraction) * 2f32.powi(exponent - bias),
    }
}

/// Element `i` of a block of Q4_K or Q5_K.
fn k_element(block: &[u8], i: usize, block_type: BlockType) -> f32 {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let (group, place) = (i / 32, i % 32);
    let nibbles = if block_type == BlockType::Q4K { 16 } else { 48 };
    let mut quant = block[nibbles + group / 2 * 32 + place] >> (group % 2 * 4) & 15;
    if block_type == BlockType::Q5K {
        quant += (block[16 + place] >> group & 1) << 4;
    }
    // Six bits each. The first four lie in one byte each, whose upper two bits are the upper bits of
    // the last four.
    let byte = |at: usize| block[4 + at];
    let (scale, minimum) = match group {
        0..4 => (byte(group) & 63, byte(group + 4) & 63),
        _ => (
            byte(group + 4) % 16 + 16 * (byte(group - 4) / 64),
            byte(group + 4) / 16 + 16 * (byte(group) / 64),
        ),
    };
    half(0) * f32::from(scale) * f32::from(quant) - half(2) * f32::from(minimum)
}

/// `x [m, cols]` times the dequantized weight `[rows, cols]` transposed: `[m, rows]`.
///
/// # Panics
/// When the lengths are not multiples of `cols`, or `bytes` is not a whole number of blocks.
pub fn qmatmul(x: &[f32], bytes: &[u8], block_type: BlockType, cols: usize) -> Vec<f32> {
    linear(x, &dequantize(bytes, block_type), None, cols)
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
