//! Aspect buckets: pictures of any shape at sizes of one area, so that batches have one size and little is
//! cut off.

use x2i_core::image::resize::resize_lanczos;
use x2i_core::{Error, Image, Result};

/// Sides are multiples of so many pixels: latents have an eighth, and tokens two latents.
const STEP: usize = 16;
/// The longest that a side may be, in multiples of the other.
const MOST_RATIO: usize = 4;

/// The sizes for one resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    sizes: Vec<[usize; 2]>,
}

/// A picture in its bucket's size.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The picture.
    pub image: Image,
    /// What was cut off at the left and at the top of the resized picture, in pixels: a part of a cache's
    /// key.
    pub crop: [usize; 2],
}

impl Buckets {
    /// The sizes whose area is at most that of a square with this side, `step` pixels apart.
    ///
    /// # Errors
    /// [`Error::Config`] for a resolution or a step that is no multiple of 16, 0, or too large.
    pub fn new(resolution: usize, step: usize) -> Result<Self> {
        for (what, value) in [("resolution", resolution), ("bucket step", step)] {
            if value == 0 || !value.is_multiple_of(STEP) || value > 8192 {
                let reason = format!("{what} {value} must be a multiple of {STEP} up to 8192");
                return Err(Error::config("buckets", reason));
            }
        }
        let area = resolution * resolution;
        let mut sizes = vec![[resolution, resolution]];
        for short in (step..resolution).step_by(step) {
            let long = area / short / step * step;
            if long <= short * MOST_RATIO {
                sizes.extend([[short, long], [long, short]]);
            }
        }
        sizes.sort_unstable();
        sizes.dedup();
        Ok(Self { sizes })
    }

    /// One size alone.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn square(resolution: usize) -> Result<Self> {
        let mut buckets = Self::new(resolution, STEP)?;
        buckets.sizes = vec![[resolution, resolution]];
        Ok(buckets)
    }

    /// Width and height of every bucket, in pixels.
    pub fn sizes(&self) -> &[[usize; 2]] {
        &self.sizes
    }

    /// The bucket whose shape is nearest to a picture's.
    pub fn of(&self, width: usize, height: usize) -> usize {
        let shape = |width: usize, height: usize| (width as f64 / height.max(1) as f64).ln();
        let wanted = shape(width.max(1), height);
        let off = |size: &[usize; 2]| (shape(size[0], size[1]) - wanted).abs();
        let all = self.sizes.iter().enumerate();
        let nearest = all.min_by(|(_, a), (_, b)| off(a).total_cmp(&off(b)));
        nearest.map_or(0, |(index, _)| index)
    }

    /// A picture in its bucket's size: resized until it covers it, then cut evenly at both ends.
    ///
    /// # Errors
    /// [`Error::Image`] when it would become too large.
    pub fn fit(&self, image: &Image) -> Result<Fitted> {
        let [width, height] = self.sizes[self.of(image.width(), image.height())];
        let scale = f64::max(
            width as f64 / image.width() as f64,
            height as f64 / image.height() as f64,
        );
        let scaled =
            |side: usize, least: usize| ((side as f64 * scale).round() as usize).max(least);
        let (wide, high) = (scaled(image.width(), width), scaled(image.height(), height));
        let resized = match (wide, high) == (image.width(), image.height()) {
            true => image.clone(),
            false => resize_lanczos(image, wide, high)?,
        };
        let crop = [(wide - width) / 2, (high - height) / 2];
        Ok(Fitted {
            image: cut(&resized, crop, [width, height])?,
            crop,
        })
    }
}

/// The part of a picture from `crop` on.
fn cut(image: &Image, crop: [usize; 2], size: [usize; 2]) -> Result<Image> {
    if size == [image.width(), image.height()] {
        return Ok(image.clone());
    }
    let [left, top] = crop;
    let [width, height] = size;
    let rows = image.pixels().chunks_exact(image.width() * 3);
    let rows = rows.skip(top).take(height);
    let pixels = rows.flat_map(|row| &row[left * 3..(left + width) * 3]);
    Image::new(width, height, pixels.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_area_and_end_at_four_to_one() {
        let buckets = Buckets::new(512, 64).unwrap();
        assert!(buckets.sizes().contains(&[512, 512]));
        assert!(buckets.sizes().contains(&[384, 640]));
        for &[width, height] in buckets.sizes() {
            assert!(width * height <= 512 * 512 && width * height > 512 * 512 * 3 / 4);
            assert!(width <= 4 * height && height <= 4 * width);
            assert!(width % 64 == 0 && height % 64 == 0);
        }
        assert_eq!(Buckets::square(256).unwrap().sizes(), [[256, 256]]);
        for (resolution, step) in [(0, 64), (500, 64), (512, 0), (512, 8), (16_384, 64)] {
            assert!(
                Buckets::new(resolution, step).is_err(),
                "{resolution} {step}"
            );
        }
    }

    #[test]
    fn a_picture_covers_its_bucket_and_is_cut_evenly() {
        let buckets = Buckets::new(64, 16).unwrap();
        // 40 columns, each of its own colour.
        let pixels = (0..20 * 40)
            .flat_map(|at| [(at % 40 * 6) as u8; 3])
            .collect();
        let image = Image::new(40, 20, pixels).unwrap();
        let size = buckets.sizes()[buckets.of(40, 20)];
        let fitted = buckets.fit(&image).unwrap();
        assert_eq!([fitted.image.width(), fitted.image.height()], size);
        assert!(size[0] > size[1]);
        let row = &fitted.image.pixels()[..size[0] * 3];
        let (first, last) = (row[0], row[row.len() - 3]);
        // As much is lost at the left as at the right.
        assert!(
            (i32::from(first) + i32::from(last) - 234).abs() <= 8,
            "{first} {last}"
        );
    }

    #[test]
    fn a_picture_of_a_buckets_size_stays_as_it_is() {
        let buckets = Buckets::square(32).unwrap();
        let image = Image::new(32, 32, (0..32 * 32 * 3).map(|at| at as u8).collect()).unwrap();
        let fitted = buckets.fit(&image).unwrap();
        assert!(fitted.image == image && fitted.crop == [0, 0]);
    }
}
