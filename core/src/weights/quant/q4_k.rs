//! Q4_K: 256 numbers in 144 bytes. Eight sub-blocks of 32 have a scale and an offset of 6 bits
//! each, which two f16 of the whole block scale: `value = d * scale * number - dmin * offset`.

use half::f16;

use super::block::{SUPER, half};
use super::fit::{LANES, Lanes, fit, round};

/// Numbers in a sub-block.
const SUB: usize = 32;
/// The largest scale or offset of 6 bits.
const MOST: f32 = 63.0;

pub(super) fn quantize(values: &[f32; SUPER]) -> [u8; 144] {
    let x: [Lanes; SUB] = std::array::from_fn(|i| std::array::from_fn(|j| values[j * SUB + i]));
    let fit = fit(&x);
    let (scale_step, scales) = six_bits(&fit.scales);
    let (offset_step, offsets) = six_bits(&fit.offsets);
    let (scale_step, offset_step) = (f16::from_f32(scale_step), f16::from_f32(offset_step));

    // With the scales as they are stored, every number is chosen anew.
    let mut numbers = fit.numbers;
    for lane in 0..LANES {
        let scale = scale_step.to_f32() * f32::from(scales[lane]);
        let offset = offset_step.to_f32() * f32::from(offsets[lane]);
        if scale != 0.0 {
            for (number, x) in numbers.iter_mut().zip(&x) {
                number[lane] = round((x[lane] + offset) / scale).clamp(0.0, 15.0);
            }
        }
    }

    let mut bytes = [0; 144];
    bytes[..2].copy_from_slice(&scale_step.to_le_bytes());
    bytes[2..4].copy_from_slice(&offset_step.to_le_bytes());
    bytes[4..16].copy_from_slice(&pack_scales(scales, offsets));
    for (at, byte) in bytes[16..].iter_mut().enumerate() {
        let (lane, i) = (at / SUB * 2, at % SUB);
        *byte = numbers[i][lane] as u8 | ((numbers[i][lane + 1] as u8) << 4);
    }
    bytes
}

/// The step that the largest of eight takes 63 times, and how often each takes it.
fn six_bits(eight: &Lanes) -> (f32, [u8; LANES]) {
    let largest = eight
        .iter()
        .fold(0.0f32, |max, &v| if v > max { v } else { max });
    let inverse = if largest > 0.0 { MOST / largest } else { 0.0 };
    let times = eight.map(|v| (round(inverse * v) as i32 as u8).min(MOST as u8));
    (largest / MOST, times)
}

/// Twelve bytes: the first four scales, the first four offsets, the lower halves of the other
/// pairs; the upper bits of those fill up the first eight bytes.
fn pack_scales(scales: [u8; LANES], offsets: [u8; LANES]) -> [u8; 12] {
    std::array::from_fn(|i| match i {
        0..4 => scales[i] | ((scales[i + 4] >> 4) << 6),
        4..8 => offsets[i - 4] | ((offsets[i] >> 4) << 6),
        _ => (scales[i - 4] & 0x0f) | ((offsets[i - 4] & 0x0f) << 4),
    })
}

/// A sub-block's scale and offset.
pub(super) fn unpack_scale(packed: &[u8], sub_block: usize) -> (f32, f32) {
    let (scale, offset) = match sub_block {
        j @ 0..4 => (packed[j] & 0x3f, packed[j + 4] & 0x3f),
        j => (
            (packed[j + 4] & 0x0f) | ((packed[j - 4] >> 6) << 4),
            (packed[j + 4] >> 4) | ((packed[j] >> 6) << 4),
        ),
    };
    (f32::from(scale), f32::from(offset))
}

pub(super) fn dequantize(block: &[u8; 144], values: &mut [f32; SUPER]) {
    let scale_step = half([block[0], block[1]]);
    let offset_step = half([block[2], block[3]]);
    let (packed, pairs) = block[4..].split_at(12);
    for (j, values) in values.as_chunks_mut::<SUB>().0.iter_mut().enumerate() {
        let (scale, offset) = unpack_scale(packed, j);
        let (scale, offset) = (scale_step * scale, offset_step * offset);
        for (value, &pair) in values.iter_mut().zip(&pairs[j / 2 * SUB..]) {
            *value = scale * f32::from((pair >> (j % 2 * 4)) & 0x0f) - offset;
        }
    }
}
