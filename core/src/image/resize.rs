//! PIL's bicubic and Lanczos resize, bit for bit.
//!
//! Source: Pillow's `ImagingResample` for 8-bit channels (`src/libImaging/Resample.c`): a
//! horizontal pass, then a vertical one, each rounded to bytes, with weights in fixed point. It
//! antialiases, so this is not what a GPU sampler does. Pillow 13 swapped the passes for images
//! whose height shrinks; the models were trained and the goldens made with earlier ones, whose
//! order (measured: 11.1 and 12.2) is kept here. Not supported: other filters, boxes, and channels
//! of other depths.

use super::cubic::cubic;
use super::windows::{Window, windows};
use super::{CHANNELS, Image, check_size};
use crate::error::Result;

/// Fractional bits of a weight: 32, less 8 of the pixel and 2 of head-room.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Resizes to `width` x `height`, as `Image.resize((width, height), Image.BICUBIC)`.
///
/// # Errors
/// [`crate::Error::Image`] when a side is 0 or the result is too large.
pub fn resize_bicubic(image: &Image, width: usize, height: usize) -> Result<Image> {
    resize(image, width, height, Filter::Bicubic)
}

/// Resizes to `width` x `height`, as `Image.resize((width, height), Image.LANCZOS)`.
///
/// # Errors
/// As [`resize_bicubic`].
pub fn resize_lanczos(image: &Image, width: usize, height: usize) -> Result<Image> {
    resize(image, width, height, Filter::Lanczos)
}

/// The weight of a pixel by its distance.
#[derive(Debug, Clone, Copy)]
enum Filter {
    Bicubic,
    Lanczos,
}

impl Filter {
    /// Pixels to each side that are read at scale 1.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => cubic(x, -0.5),
            Self::Lanczos => lanczos(x),
        }
    }
}

fn resize(image: &Image, width: usize, height: usize, filter: Filter) -> Result<Image> {
    check_size(width, height)?;
    let narrowed = if width == image.width() {
        image.pixels().to_vec()
    } else {
        resize_rows(image.pixels(), image.width(), width, filter)
    }; // [image.height, width, 3]
    let resized = if height == image.height() {
        narrowed
    } else {
        resize_columns(&narrowed, width, image.height(), height, filter)
    }; // [height, width, 3]
    Image::new(width, height, resized)
}

/// The windows of an axis, with weights in fixed point, [`PRECISION_BITS`] after the point.
fn fixed_windows(from: usize, to: usize, filter: Filter) -> impl Iterator<Item = Window<i32>> {
    windows(from, to, filter.support(), move |x| filter.weight(x)).map(|window| Window {
        first: window.first,
        weights: window.weights.into_iter().map(fixed_point).collect(),
    })
}

/// A sinc in a window that is the middle of a wider one.
fn lanczos(x: f64) -> f64 {
    const A: f64 = 3.0;
    let sinc = |x: f64| {
        let angle = x * std::f64::consts::PI;
        if x == 0.0 { 1.0 } else { angle.sin() / angle }
    };
    if (-A..A).contains(&x) {
        sinc(x) * sinc(x / A)
    } else {
        0.0
    }
}

/// Rounds half away from zero, as Pillow's `normalize_coeffs_8bpc`.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    if scaled < 0.0 {
        (scaled - 0.5) as i32
    } else {
        (scaled + 0.5) as i32
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Half of a grey level, so that the shift rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// `[rows, from, 3]` -> `[rows, to, 3]`.
fn resize_rows(pixels: &[u8], from: usize, to: usize, filter: Filter) -> Vec<u8> {
    let windows: Vec<_> = fixed_windows(from, to, filter).collect();
    let mut resized = Vec::with_capacity(pixels.len() / from * to);
    for row in pixels.chunks_exact(from * CHANNELS) {
        for window in &windows {
            let mut sums = [HALF; CHANNELS];
            let read = row[window.first * CHANNELS..].chunks_exact(CHANNELS);
            for (pixel, weight) in read.zip(&window.weights) {
                for (sum, &byte) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(byte) * weight;
                }
            }
            resized.extend(sums.map(to_byte));
        }
    }
    resized
}

/// `[from, width, 3]` -> `[to, width, 3]`.
fn resize_columns(pixels: &[u8], width: usize, from: usize, to: usize, filter: Filter) -> Vec<u8> {
    let row = width * CHANNELS;
    let mut resized = Vec::with_capacity(row * to);
    let mut sums = vec![HALF; row];
    for window in fixed_windows(from, to, filter) {
        sums.fill(HALF);
        for (bytes, weight) in pixels[window.first * row..]
            .chunks_exact(row)
            .zip(window.weights)
        {
            for (sum, &byte) in sums.iter_mut().zip(bytes) {
                *sum += i32::from(byte) * weight;
            }
        }
        resized.extend(sums.iter().map(|&sum| to_byte(sum)));
    }
    resized
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An image of pseudo-random bytes: `byte = (i * 167 + i * i * 13) % 251`.
    fn noise(width: usize, height: usize) -> Image {
        let pixels = (0..width * height * 3).map(|i| ((i * 167 + i * i * 13) % 251) as u8);
        Image::new(width, height, pixels.collect()).unwrap()
    }

    /// Position-weighted checksum, so that a swapped pixel shows.
    fn checksum(image: &Image) -> u64 {
        let weighted = image
            .pixels()
            .iter()
            .zip(1u64..)
            .map(|(&byte, i)| u64::from(byte) * (i % 997));
        weighted.sum()
    }

    /// Checksums of `Image.resize(size, filter)` in Pillow 12.2 of the same image: BICUBIC, LANCZOS.
    #[test]
    fn resize_matches_pillow_up_down_and_mixed() {
        let cases = [
            ((7, 5), (13, 11), [11_654_538, LANCZOS[0]]),
            ((64, 48), (10, 9), [4_756_370, LANCZOS[1]]),
            ((33, 9), (5, 40), [23_677_994, LANCZOS[2]]),
            ((300, 2), (7, 2), [117_373, LANCZOS[3]]),
            ((1, 1), (4, 3), [71_550, LANCZOS[4]]),
            ((20, 60), (31, 17), [86_935_772, LANCZOS[5]]),
        ];
        for ((width, height), (to_width, to_height), expected) in cases {
            let resized = [Filter::Bicubic, Filter::Lanczos].map(|filter| {
                checksum(&resize(&noise(width, height), to_width, to_height, filter).unwrap())
            });
            assert_eq!(
                resized, expected,
                "{width}x{height} to {to_width}x{to_height}"
            );
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(resize_bicubic(&noise(4, 4), 0, 4).is_err());
        assert!(resize_bicubic(&noise(4, 4), usize::MAX, 2).is_err());
    }

    #[test]
    fn a_picture_100_000_pixels_wide_shrinks() {
        let wide = resize_bicubic(&noise(100_000, 1), 28, 28).unwrap();
        assert_eq!((wide.width(), wide.height()), (28, 28));
    }

    /// Made with the two passes one by one, as Pillow 12.2 takes them.
    const LANCZOS: [u64; 6] = [
        11_691_402, 4_753_774, 23_692_294, 117_342, 71_550, 86_906_591,
    ];

    proptest! {
        #[test]
        fn one_colour_stays_that_colour(
            byte: u8, from in (1usize..40, 1usize..40), to in (1usize..40, 1usize..40),
        ) {
            let flat = Image::new(from.0, from.1, vec![byte; from.0 * from.1 * 3]).unwrap();
            let resized = resize_bicubic(&flat, to.0, to.1).unwrap();
            prop_assert!(resized.pixels().iter().all(|&pixel| pixel == byte));
        }

        #[test]
        fn the_same_size_changes_nothing(width in 1usize..30, height in 1usize..30) {
            let image = noise(width, height);
            prop_assert_eq!(resize_bicubic(&image, width, height).unwrap(), image);
        }
    }
}
