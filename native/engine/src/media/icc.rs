//! Converts pictures from the colors of their ICC profile to sRGB, which the models were trained with.
//!
//! A profile that is sRGB, or nearly so, changes no pixel. Not here: profiles of CMYK and Lab.

use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};
use moxcms::{ColorProfile, DataColorSpace, Layout, Transform8BitExecutor, TransformOptions};

/// A channel may differ so much after the conversion from a profile that counts as sRGB's own.
const SAME: u8 = 1;

/// The picture in sRGB; as it is when the profile is broken, of other channels, or sRGB.
pub fn to_srgb(picture: DynamicImage, profile: &[u8]) -> DynamicImage {
    let Ok(profile) = ColorProfile::new_from_slice(profile) else {
        return picture;
    };
    let color = picture.color();
    let (grey, alpha) = (!color.has_color(), color.has_alpha());
    let (from, to) = match (grey, alpha) {
        (false, false) => (Layout::Rgb, Layout::Rgb),
        (false, true) => (Layout::Rgba, Layout::Rgba),
        (true, false) => (Layout::Gray, Layout::Rgb),
        (true, true) => (Layout::GrayAlpha, Layout::Rgba),
    };
    let wanted = match grey {
        true => DataColorSpace::Gray,
        false => DataColorSpace::Rgb,
    };
    let options = TransformOptions::default();
    let transform = profile.create_transform_8bit(from, &ColorProfile::new_srgb(), to, options);
    match transform {
        Ok(transform)
            if profile.color_space == wanted && !is_same(transform.as_ref(), grey, alpha) =>
        {
            convert(&picture, transform.as_ref()).unwrap_or(picture)
        }
        _ => picture,
    }
}

/// Whether colors all over the cube stay what they are.
fn is_same(transform: &Transform8BitExecutor, grey: bool, alpha: bool) -> bool {
    let levels = [0u8, 51, 102, 153, 204, 255];
    let cube = levels.iter().flat_map(|&red| {
        levels
            .iter()
            .flat_map(move |&green| levels.map(|blue| [red, green, blue]))
    });
    let colors: Vec<[u8; 3]> = match grey {
        true => (0..=255).map(|level| [level; 3]).collect(),
        false => cube.collect(),
    };
    let end: &[u8] = if alpha { &[255] } else { &[] };
    let opaque = |channels: &[u8]| [channels, end].concat();
    let given: Vec<u8> = colors
        .iter()
        .flat_map(|color| opaque(if grey { &color[..1] } else { &color[..] }))
        .collect();
    let mut made = vec![0; colors.len() * if alpha { 4 } else { 3 }];
    let done = transform.transform(&given, &mut made).is_ok();
    let made = made.chunks_exact(if alpha { 4 } else { 3 });
    let near = |(made, color): (&[u8], &[u8; 3])| {
        made.iter()
            .zip(color)
            .all(|(made, given)| made.abs_diff(*given) <= SAME)
    };
    !done || made.zip(&colors).all(near)
}

fn convert(picture: &DynamicImage, transform: &Transform8BitExecutor) -> Option<DynamicImage> {
    let (width, height) = (picture.width(), picture.height());
    let (grey, alpha) = (!picture.color().has_color(), picture.color().has_alpha());
    let given: Vec<u8> = match (grey, alpha) {
        (false, false) => RgbImage::into_raw(picture.to_rgb8()),
        (false, true) => RgbaImage::into_raw(picture.to_rgba8()),
        (true, false) => GrayImage::into_raw(picture.to_luma8()),
        (true, true) => GrayAlphaImage::into_raw(picture.to_luma_alpha8()),
    };
    let channels = if alpha { 4 } else { 3 };
    let mut made = vec![0; width as usize * height as usize * channels];
    transform.transform(&given, &mut made).ok()?;
    match alpha {
        true => RgbaImage::from_raw(width, height, made).map(DynamicImage::from),
        false => RgbImage::from_raw(width, height, made).map(DynamicImage::from),
    }
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb, Rgba};

    use super::*;

    fn encoded(profile: ColorProfile) -> Vec<u8> {
        profile.encode().unwrap()
    }

    fn near(found: &[u8], expected: &[u8]) -> bool {
        let mut pairs = found.iter().zip(expected);
        pairs.all(|(found, expected)| found.abs_diff(*expected) <= 2)
    }

    /// Values of Display P3 for sRGB's red (0.9175, 0.2003, 0.1386), and for a green beyond sRGB.
    #[test]
    fn display_p3_becomes_srgb() {
        let p3 = encoded(ColorProfile::new_display_p3());
        let mut picture = RgbImage::from_pixel(2, 1, Rgb([234, 51, 35]));
        picture.put_pixel(1, 0, Rgb([0, 255, 0]));
        let made = to_srgb(picture.into(), &p3).into_rgb8().into_raw();
        assert!(near(&made, &[255, 0, 0, 0, 255, 0]), "{made:?}");
        let clear = RgbaImage::from_pixel(1, 1, Rgba([234, 51, 35, 7]));
        let made = to_srgb(clear.into(), &p3).into_rgba8().into_raw();
        assert!(near(&made, &[255, 0, 0, 7]), "{made:?}");
    }

    #[test]
    fn greys_of_another_curve_are_converted() {
        let linear = encoded(ColorProfile::new_gray_with_gamma(1.0));
        let grey = GrayImage::from_pixel(1, 1, Luma([55]));
        let made = to_srgb(grey.into(), &linear).into_rgb8().into_raw();
        assert!(near(&made, &[128; 3]), "{made:?}"); // 55 / 255 of the light
    }

    #[test]
    fn srgb_broken_and_foreign_profiles_change_nothing() {
        let picture = || {
            DynamicImage::from(RgbImage::from_fn(16, 16, |x, y| {
                Rgb([x as u8 * 17, y as u8 * 17, 99])
            }))
        };
        let grey = encoded(ColorProfile::new_gray_with_gamma(1.0));
        for profile in [
            &encoded(ColorProfile::new_srgb())[..],
            &grey,
            b"",
            b"no profile at all",
        ] {
            assert_eq!(to_srgb(picture(), profile), picture());
        }
    }
}
