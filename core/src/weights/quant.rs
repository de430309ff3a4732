//! f32 to and from the stored types, on the host, bit for bit as ggml's reference quantizers.
//!
//! Source: `quantize_row_q8_0_ref`, `quantize_row_q4_0_ref` and `ggml_compute_fp32_to_bf16` of
//! ggml. Left out: importance matrices and the K-quants.

use half::{bf16, f16};

use super::stored::StoredType;

/// Numbers in a block of Q8_0 or Q4_0.
const BLOCK: usize = 32;

/// Stores f32 values as `stored`. Integers and booleans are refused: no float weight becomes one.
///
/// # Panics
/// For a type other than F64, F32, F16, BF16, Q8_0 and Q4_0, and for values that do not divide
/// into blocks.
pub fn quantize(values: &[f32], stored: StoredType) -> Vec<u8> {
    assert!(
        values.len().is_multiple_of(stored.block_len()),
        "{} values do not divide into blocks of {stored}",
        values.len()
    );
    let mut bytes = Vec::with_capacity(values.len() / stored.block_len() * stored.block_bytes());
    match stored {
        StoredType::F64 => extend(&mut bytes, values, |v| f64::from(v).to_le_bytes()),
        StoredType::F32 => extend(&mut bytes, values, f32::to_le_bytes),
        StoredType::F16 => extend(&mut bytes, values, |v| f16::from_f32(v).to_le_bytes()),
        StoredType::BF16 => extend(&mut bytes, values, |v| bf16::from_f32(v).to_le_bytes()),
        StoredType::Q8_0 => {
            for block in values.as_chunks::<BLOCK>().0 {
                quantize_q8_0(block, &mut bytes);
            }
        }
        StoredType::Q4_0 => {
            for block in values.as_chunks::<BLOCK>().0 {
                quantize_q4_0(block, &mut bytes);
            }
        }
        other => panic!("nothing is quantized to {other}"),
    }
    bytes
}

/// The f32 values of stored bytes. Wider types are rounded, booleans become 0 and 1.
///
/// # Panics
/// For a type that is not [readable](StoredType::is_readable), and for a part of a block.
pub fn dequantize(bytes: &[u8], stored: StoredType) -> Vec<f32> {
    assert!(
        bytes.len().is_multiple_of(stored.block_bytes()),
        "{} bytes are not whole numbers of {stored}",
        bytes.len()
    );
    match stored {
        StoredType::F64 => widen(bytes, |b| f64::from_le_bytes(b) as f32),
        StoredType::F32 => widen(bytes, f32::from_le_bytes),
        StoredType::F16 => widen(bytes, |b| f16::from_le_bytes(b).to_f32()),
        StoredType::BF16 => widen(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        StoredType::I64 => widen(bytes, |b| i64::from_le_bytes(b) as f32),
        StoredType::I32 => widen(bytes, |b| i32::from_le_bytes(b) as f32),
        StoredType::I16 => widen(bytes, |b| f32::from(i16::from_le_bytes(b))),
        StoredType::I8 => widen(bytes, |b| f32::from(i8::from_le_bytes(b))),
        StoredType::U8 => widen(bytes, |[b]| f32::from(b)),
        StoredType::Bool => widen(bytes, |[b]| f32::from(u8::from(b != 0))),
        StoredType::Q8_0 => dequantize_q8_0(bytes),
        StoredType::Q4_0 => dequantize_q4_0(bytes),
        other => panic!("{other} can't be read"),
    }
}

fn extend<const N: usize>(bytes: &mut Vec<u8>, values: &[f32], store: impl Fn(f32) -> [u8; N]) {
    bytes.extend(values.iter().flat_map(|&value| store(value)));
}

fn widen<const N: usize>(bytes: &[u8], load: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&b| load(b)).collect()
}

/// 1/scale, with 0 for a block of zeros.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// 34 bytes: the scale as f16, then 32 signed bytes.
fn quantize_q8_0(block: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let scale = largest / 127.0;
    // The inverse of the exact scale, not of the f16 that is stored: so does ggml.
    let inverse = inverse(scale);
    bytes.extend(f16::from_f32(scale).to_le_bytes());
    bytes.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
}

/// 18 bytes: the scale as f16, then 16 bytes that hold number i low and number i + 16 high.
fn quantize_q4_0(block: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    // The number of largest magnitude, with its sign, becomes exactly -8.
    let largest = block
        .iter()
        .fold(0.0f32, |max, &v| if v.abs() > max.abs() { v } else { max });
    let scale = largest / -8.0;
    let inverse = inverse(scale);
    bytes.extend(f16::from_f32(scale).to_le_bytes());
    let four_bits = |v: f32| ((v * inverse + 8.5) as i8 as u8).min(15);
    let (low, high) = block.split_at(BLOCK / 2);
    let pairs = low.iter().zip(high);
    bytes.extend(pairs.map(|(&low, &high)| four_bits(low) | (four_bits(high) << 4)));
}

fn dequantize_q8_0(bytes: &[u8]) -> Vec<f32> {
    let blocks = bytes.as_chunks::<34>().0;
    let mut values = Vec::with_capacity(blocks.len() * BLOCK);
    for [s0, s1, numbers @ ..] in blocks {
        let scale = f16::from_le_bytes([*s0, *s1]).to_f32();
        values.extend(numbers.iter().map(|&n| f32::from(n as i8) * scale));
    }
    values
}

fn dequantize_q4_0(bytes: &[u8]) -> Vec<f32> {
    let blocks = bytes.as_chunks::<18>().0;
    let mut values = Vec::with_capacity(blocks.len() * BLOCK);
    for [s0, s1, pairs @ ..] in blocks {
        let scale = f16::from_le_bytes([*s0, *s1]).to_f32();
        let number = |bits: u8| (f32::from(bits) - 8.0) * scale;
        values.extend(pairs.iter().map(|&pair| number(pair & 0x0f)));
        values.extend(pairs.iter().map(|&pair| number(pair >> 4)));
    }
    values
}
