//! Conversion between f32 and the stored types, on the host, bit for bit as ggml's reference
//! quantizers.
//!
//! Source: `quantize_row_*_ref`, `dequantize_row_*` and `ggml_compute_fp32_to_bf16` of ggml,
//! compiled without fused multiply-add. Every block type that [`StoredType`] knows is read; Q8_0,
//! Q4_0 and Q4_K are written. Not supported: importance matrices, which the `IQ` types are made with.

mod block;
mod fit;
mod four_bits;
mod fp8;
mod grid;
mod iq;
mod k_quants;
mod q4_0;
mod q4_k;
mod q5;
mod q8_0;
mod q8_k;
mod repack;
mod ternary;

use half::{bf16, f16};

use super::stored::StoredType;
pub(super) use repack::repack;

/// Stores f32 values as `stored`. Integers and booleans are refused: no float weight becomes one.
///
/// # Panics
/// For a type that is not [made here](can_quantize), and for values that do not divide into blocks.
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
        StoredType::Q8_0 => extend_blocks(&mut bytes, values, q8_0::quantize),
        StoredType::Q4_0 => extend_blocks(&mut bytes, values, q4_0::quantize),
        StoredType::Q4K => extend_blocks(&mut bytes, values, q4_k::quantize),
        other => panic!("nothing is quantized to {other}"),
    }
    bytes
}

/// True for the types that [`quantize`] makes.
pub fn can_quantize(stored: StoredType) -> bool {
    use StoredType::{BF16, F16, F32, F64, Q4_0, Q4K, Q8_0};
    matches!(stored, F64 | F32 | F16 | BF16 | Q8_0 | Q4_0 | Q4K)
}

/// The f32 values of stored bytes. Wider types are rounded, booleans become 0 and 1.
///
/// # Panics
/// For a part of a block.
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
        StoredType::F8E4M3 => fp8::widen(bytes, fp8::e4m3),
        StoredType::F8E5M2 => fp8::widen(bytes, fp8::e5m2),
        StoredType::I64 => widen(bytes, |b| i64::from_le_bytes(b) as f32),
        StoredType::I32 => widen(bytes, |b| i32::from_le_bytes(b) as f32),
        StoredType::I16 => widen(bytes, |b| f32::from(i16::from_le_bytes(b))),
        StoredType::I8 => widen(bytes, |b| f32::from(i8::from_le_bytes(b))),
        StoredType::U64 => widen(bytes, |b| u64::from_le_bytes(b) as f32),
        StoredType::U32 => widen(bytes, |b| u32::from_le_bytes(b) as f32),
        StoredType::U16 => widen(bytes, |b| f32::from(u16::from_le_bytes(b))),
        StoredType::U8 => widen(bytes, |[b]| f32::from(b)),
        StoredType::Bool => widen(bytes, |[b]| f32::from(u8::from(b != 0))),
        StoredType::Q8_0 => widen_blocks(bytes, q8_0::dequantize),
        StoredType::Q4_0 => widen_blocks(bytes, q4_0::dequantize),
        StoredType::Q4_1 => widen_blocks(bytes, q4_0::dequantize_q4_1),
        StoredType::Q5_0 => widen_blocks(bytes, q5::dequantize_q5_0),
        StoredType::Q5_1 => widen_blocks(bytes, q5::dequantize_q5_1),
        StoredType::Q2K => widen_blocks(bytes, k_quants::dequantize_q2_k),
        StoredType::Q3K => widen_blocks(bytes, k_quants::dequantize_q3_k),
        StoredType::Q4K => widen_blocks(bytes, q4_k::dequantize),
        StoredType::Q5K => widen_blocks(bytes, k_quants::dequantize_q5_k),
        StoredType::Q6K => widen_blocks(bytes, k_quants::dequantize_q6_k),
        other => dequantize_rare(bytes, other),
    }
}

/// ggml's rarer types.
fn dequantize_rare(bytes: &[u8], stored: StoredType) -> Vec<f32> {
    match stored {
        StoredType::Q8_1 => widen_blocks(bytes, q8_0::dequantize_q8_1),
        StoredType::Q8K => widen_blocks(bytes, q8_k::dequantize),
        StoredType::IQ4NL => widen_blocks(bytes, four_bits::dequantize_iq4_nl),
        StoredType::IQ4XS => widen_blocks(bytes, four_bits::dequantize_iq4_xs),
        StoredType::MXFP4 => widen_blocks(bytes, four_bits::dequantize_mxfp4),
        StoredType::IQ3S => widen_blocks(bytes, iq::dequantize_iq3_s),
        StoredType::IQ3XXS => widen_blocks(bytes, iq::dequantize_iq3_xxs),
        StoredType::IQ2S => widen_blocks(bytes, iq::dequantize_iq2_s),
        StoredType::IQ2XS => widen_blocks(bytes, iq::dequantize_iq2_xs),
        StoredType::IQ2XXS => widen_blocks(bytes, iq::dequantize_iq2_xxs),
        StoredType::IQ1M => widen_blocks(bytes, iq::dequantize_iq1_m),
        StoredType::IQ1S => widen_blocks(bytes, iq::dequantize_iq1_s),
        StoredType::TQ2_0 => widen_blocks(bytes, ternary::dequantize_tq2_0),
        StoredType::TQ1_0 => widen_blocks(bytes, ternary::dequantize_tq1_0),
        other => unreachable!("{other} is read above"),
    }
}

/// The f16 that equals each number of 8 bits, in the machine's order of bytes.
///
/// # Panics
/// For a type that is not [of 8 bits](StoredType::is_fp8).
pub(super) fn fp8_halves(bytes: &[u8], stored: StoredType) -> Vec<u16> {
    match stored {
        StoredType::F8E4M3 => fp8::halves(bytes, fp8::e4m3),
        StoredType::F8E5M2 => fp8::halves(bytes, fp8::e5m2),
        other => panic!("{other} is no float of 8 bits"),
    }
}

fn extend<const N: usize>(bytes: &mut Vec<u8>, values: &[f32], store: impl Fn(f32) -> [u8; N]) {
    bytes.extend(values.iter().flat_map(|&value| store(value)));
}

fn extend_blocks<const LEN: usize, const BYTES: usize>(
    bytes: &mut Vec<u8>,
    values: &[f32],
    store: impl Fn(&[f32; LEN]) -> [u8; BYTES],
) {
    for block in values.as_chunks().0 {
        bytes.extend(store(block));
    }
}

fn widen<const N: usize>(bytes: &[u8], load: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&b| load(b)).collect()
}

fn widen_blocks<const LEN: usize, const BYTES: usize>(
    bytes: &[u8],
    load: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) -> Vec<f32> {
    let blocks = bytes.as_chunks().0;
    let mut values = vec![0.0; blocks.len() * LEN];
    for (block, values) in blocks.iter().zip(values.as_chunks_mut().0) {
        load(block, values);
    }
    values
}
