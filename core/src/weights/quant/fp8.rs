//! Floats of 8 bits: `float8_e4m3fn` and `float8_e5m2` of PyTorch and ml_dtypes.
//!
//! Source: "FP8 Formats for Deep Learning" (Micikevicius et al., 2022). Both fit into an f16 without
//! rounding. Left out: the scales that checkpoints keep beside such tensors, and making such numbers.

use half::f16;

/// A sign, 4 bits of exponent (bias 7), 3 of mantissa. All ones are NaN; there are no infinities.
pub(super) fn e4m3(byte: u8) -> f32 {
    /// The bias of an f16 is 8 more.
    const BIAS: f32 = 256.0;
    let (sign, magnitude) = (byte & 0x80, byte & 0x7f);
    let bits = (u16::from(sign) << 8) | (u16::from(magnitude) << 7);
    match magnitude {
        0x7f => f32::NAN.copysign(f16::from_bits(bits).to_f32()),
        _ => f16::from_bits(bits).to_f32() * BIAS,
    }
}

/// The upper byte of an f16. There is one NaN of each sign.
pub(super) fn e5m2(byte: u8) -> f32 {
    let value = f16::from_bits(u16::from(byte) << 8).to_f32();
    match byte & 0x7f {
        0x7d.. => f32::NAN.copysign(value),
        _ => value,
    }
}

pub(super) fn widen(bytes: &[u8], number: fn(u8) -> f32) -> Vec<f32> {
    let all: [f32; 256] = std::array::from_fn(|byte| number(byte as u8));
    bytes.iter().map(|&byte| all[usize::from(byte)]).collect()
}

pub(super) fn halves(bytes: &[u8], number: fn(u8) -> f32) -> Vec<u16> {
    let all: [u16; 256] = std::array::from_fn(|byte| f16::from_f32(number(byte as u8)).to_bits());
    bytes.iter().map(|&byte| all[usize::from(byte)]).collect()
}
