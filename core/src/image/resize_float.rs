//! torchvision's bicubic resize of bytes, as `qwen_vl_utils` shrinks the frames of a video.
//!
//! Source: ATen's `_upsample_bicubic2d_aa` in 32 bits. The filter is that of
//! [`resize`](super::resize), but weights and the image between its two passes are floats; bytes
//! are rounded once, half to even.

use super::cubic::cubic;
use super::windows::windows;
use super::{CHANNELS, Image, check_size};
use crate::error::Result;

/// Pixels to each side that the filter reads at scale 1.
const SUPPORT: f32 = 2.0;

/// Resizes to `width` x `height`, as torchvision's `resize` with bicubic interpolation and antialias.
///
/// # Errors
/// [`crate::Error::Image`] when a side is 0 or the result is too large.
pub fn resize_bicubic_float(image: &Image, width: usize, height: usize) -> Result<Image> {
    check_size(width, height)?;
    let pixels: Vec<f32> = image.pixels().iter().map(|&byte| f32::from(byte)).collect();
    let pixels = resize_axis(&pixels, CHANNELS, image.width(), width); // [image.height, width, 3]
    let pixels = resize_axis(&pixels, width * CHANNELS, image.height(), height); // [height, width, 3]
    let bytes = pixels
        .iter()
        .map(|value| value.clamp(0.0, 255.0).round_ties_even() as u8);
    Image::new(width, height, bytes.collect())
}

/// `[_, from, inner]` -> `[_, to, inner]`.
fn resize_axis(values: &[f32], inner: usize, from: usize, to: usize) -> Vec<f32> {
    let windows: Vec<_> = windows(from, to, SUPPORT, |x| cubic(x, -0.5)).collect();
    let mut resized = Vec::with_capacity(values.len() / from * to);
    for outer in values.chunks_exact(from * inner) {
        for window in &windows {
            let start = resized.len();
            resized.resize(start + inner, 0.0);
            let read = outer[window.first * inner..].chunks_exact(inner);
            for (row, weight) in read.zip(&window.weights) {
                for (sum, value) in resized[start..].iter_mut().zip(row) {
                    *sum += value * weight;
                }
            }
        }
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::resize::resize_bicubic;

    #[test]
    fn it_is_pils_resize_up_to_a_grey_level_of_rounding() {
        // Waves within 40..=210: PIL cuts what overshoots between its passes, too.
        let wave = |i: usize| (125.0 + 85.0 * (i as f64 * 0.37).sin()) as u8;
        let pixels = (0..40 * 30 * 3).map(wave);
        let image = Image::new(40, 30, pixels.collect()).unwrap();
        for (width, height) in [(40, 30), (13, 7), (20, 61), (56, 28), (1, 1)] {
            let ours = resize_bicubic_float(&image, width, height).unwrap();
            let pils = resize_bicubic(&image, width, height).unwrap();
            let mut pairs = ours.pixels().iter().zip(pils.pixels());
            assert!(pairs.all(|(a, b)| a.abs_diff(*b) <= 1), "{width}x{height}");
        }
    }

    #[test]
    fn a_size_of_nothing_is_refused() {
        let image = Image::new(1, 1, vec![0; 3]).unwrap();
        assert!(resize_bicubic_float(&image, 0, 1).is_err());
        assert!(resize_bicubic_float(&image, usize::MAX, 2).is_err());
    }
}
