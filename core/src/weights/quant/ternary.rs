//! Reading the types of -1, 0 and 1: TQ1_0 and TQ2_0, 256 numbers with one f16. They are not written.

use super::block::{SUPER, half};

/// 54 bytes: 5 numbers in each of 32 and of 16 bytes, 4 in each of 4 bytes, the f16. A byte is a fraction
/// of 256, whose digits to the base of 3 come out from the top.
pub(super) fn dequantize_tq1_0(block: &[u8; 54], values: &mut [f32; SUPER]) {
    let step = half([block[52], block[53]]);
    let mut values = values.iter_mut();
    for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        let mut power = 1u8;
        for _ in 0..digits {
            for (value, byte) in values.by_ref().take(bytes.len()).zip(bytes) {
                let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
                *value = step * (f32::from(digit) - 1.0);
            }
            power = power.wrapping_mul(3);
        }
    }
}

/// 66 bytes: four numbers in each of two times 32 bytes, the f16.
pub(super) fn dequantize_tq2_0(block: &[u8; 66], values: &mut [f32; SUPER]) {
    let step = half([block[64], block[65]]);
    for (i, value) in values.iter_mut().enumerate() {
        let (half, quarter, at) = (i / 128, i / 32 % 4, i % 32);
        let number = (block[half * 32 + at] >> (2 * quarter)) & 3;
        *value = step * (f32::from(number) - 1.0);
    }
}
