//! Composes transparent pictures over a background, as PIL's `Image.paste` with a mask, bit for bit.

use image::{DynamicImage, RgbImage, RgbaImage};

use super::reading::Background;

/// The picture in 8-bit RGB.
pub fn flatten(picture: DynamicImage, background: Background) -> RgbImage {
    match (picture.color().has_alpha(), background) {
        (true, Background::Color(color)) => compose(&picture.into_rgba8(), color),
        _ => picture.into_rgb8(),
    }
}

fn compose(picture: &RgbaImage, color: [u8; 3]) -> RgbImage {
    let pixels = picture.as_raw().chunks_exact(4).flat_map(|pixel| {
        let alpha = u32::from(pixel[3]);
        [0, 1, 2].map(|channel| blend(u32::from(color[channel]), u32::from(pixel[channel]), alpha))
    });
    let (width, height) = picture.dimensions();
    // As many bytes as it needs, by construction.
    RgbImage::from_raw(width, height, pixels.collect()).unwrap_or_default()
}

/// `(below * (255 - alpha) + above * alpha) / 255`, rounded as PIL does.
fn blend(below: u32, above: u32, alpha: u32) -> u8 {
    let sum = below * (255 - alpha) + above * alpha + 128;
    ((sum + (sum >> 8)) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    #[test]
    fn blending_is_exact_division_rounded() {
        for below in [0, 7, 128, 255] {
            for above in 0..=255 {
                for alpha in 0..=255 {
                    let exact = f64::from(below * (255 - alpha) + above * alpha) / 255.0;
                    assert_eq!(f64::from(blend(below, above, alpha)), exact.round());
                }
            }
        }
    }

    #[test]
    fn what_is_hidden_shows_only_when_transparency_is_dropped() {
        let clear = || DynamicImage::from(RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0])));
        let flat = |background| flatten(clear(), background).into_raw();
        assert_eq!(flat(Background::default()), [255, 255, 255]);
        assert_eq!(flat(Background::Color([1, 2, 3])), [1, 2, 3]);
        assert_eq!(flat(Background::Dropped), [10, 20, 30]);
    }
}
