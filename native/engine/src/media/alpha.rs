//! Puts transparent pictures over a background.

use image::{DynamicImage, RgbImage};

use super::reading::Background;

/// The picture in 8-bit RGB.
pub fn flatten(picture: DynamicImage, background: Background) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let (width, height) = (picture.width(), picture.height());
    let pixels = background.flatten(picture.into_rgba8().as_raw());
    // As many bytes as it needs, by construction.
    RgbImage::from_raw(width, height, pixels).unwrap_or_default()
}
