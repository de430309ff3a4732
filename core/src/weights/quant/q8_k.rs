//! Q8_K: 292 bytes, the scale as f32, 256 signed bytes, then the sums of each 16 of them.

use super::block::SUPER;

pub(super) fn dequantize([s0, s1, s2, s3, numbers @ ..]: &[u8; 292], values: &mut [f32; SUPER]) {
    let scale = f32::from_le_bytes([*s0, *s1, *s2, *s3]);
    for (value, &number) in values.iter_mut().zip(numbers) {
        *value = scale * f32::from(number as i8);
    }
}
