//! Q8_0: 34 bytes, the scale as f16, then 32 signed bytes. Q8_1 has the sum of its numbers as another
//! f16 behind the scale.

use half::f16;

use super::block::{BLOCK, half, inverse, largest};

pub(super) fn quantize(block: &[f32; BLOCK]) -> [u8; 34] {
    let scale = largest(block).abs() / 127.0;
    // The inverse of the exact scale, not of the f16 that is stored: so does ggml.
    let inverse = inverse(scale);
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (byte, value) in bytes[2..].iter_mut().zip(block) {
        *byte = (value * inverse).round() as i8 as u8;
    }
    bytes
}

pub(super) fn dequantize([s0, s1, numbers @ ..]: &[u8; 34], values: &mut [f32; BLOCK]) {
    let scale = half([*s0, *s1]);
    for (value, &number) in values.iter_mut().zip(numbers) {
        *value = f32::from(number as i8) * scale;
    }
}

pub(super) fn dequantize_q8_1([s0, s1, _, _, numbers @ ..]: &[u8; 36], values: &mut [f32; BLOCK]) {
    let scale = half([*s0, *s1]);
    for (value, &number) in values.iter_mut().zip(numbers) {
        *value = f32::from(number as i8) * scale;
    }
}
