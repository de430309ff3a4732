//! Images as views of patches: the whole image, and slices of a large one.
//!
//! A view has about `scale_resolution` squared pixels in the image's aspect ratio; its sides are
//! multiples of a patch. A larger image may add a grid of slices at full detail. Source: X2I's
//! `minicpm/image_processing_minicpmv.py` (PIL's bicubic, Python's rounding). Not supported:
//! padding to one size, and images that are not sliced at all (`slice_mode` off).

use crate::config::{PreprocessorConfig, SliceConfig};
use crate::error::Result;
use crate::image::Image;
use crate::image::normalize::Normalizer;
use crate::image::resize::resize_bicubic;

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Grid {
    /// Places in all.
    pub fn places(&self) -> usize {
        self.rows * self.columns
    }
}

/// One view of an image: what the vision tower reads and the resampler makes `query_num` tokens of.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// `[grid.places(), 3 * patch_size²]`: patches by rows, each `(channel, y, x)`, normalized.
    pub pixel_values: Vec<f32>,
    /// Rows and columns of patches.
    pub grid: Grid,
}

/// One image: the view of the whole, then its slices by rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Sliced {
    /// At least the whole.
    pub views: Vec<View>,
    /// Rows and columns of slices, if there are any.
    pub slices: Option<Grid>,
}

/// Cuts images into views and patches.
#[derive(Debug, Clone, Copy)]
pub struct Slicer<'a> {
    /// Size of a view, and how many slices there may be.
    pub slices: SliceConfig,
    /// Pixels of a patch's side.
    pub patch_size: usize,
    /// The colours' mean and deviation.
    pub preprocessor: &'a PreprocessorConfig,
}

impl Slicer<'_> {
    /// The views of one image.
    ///
    /// # Errors
    /// [`crate::Error::Image`] for an image that is too large once it is resized.
    pub fn image(&self, image: &Image) -> Result<Sliced> {
        let size = [image.width(), image.height()];
        let Some(slices) = self.grid(size) else {
            let [width, height] = self.view_size(size, Upscale::Yes);
            let whole = resize_bicubic(image, width, height)?;
            return Ok(Sliced {
                views: vec![self.cut(&whole, [0, 0], [width, height])],
                slices: None,
            });
        };
        let [width, height] = self.view_size(size, Upscale::No);
        let whole = resize_bicubic(image, width, height)?;
        let mut views = vec![self.cut(&whole, [0, 0], [width, height])];
        let [width, height] = self.slice_size(size, slices);
        let fine = resize_bicubic(image, width * slices.columns, height * slices.rows)?;
        for row in 0..slices.rows {
            for column in 0..slices.columns {
                views.push(self.cut(&fine, [column * width, row * height], [width, height]));
            }
        }
        Ok(Sliced {
            views,
            slices: Some(slices),
        })
    }

    /// The slices of an image of `[width, height]`: the grid nearest to its shape, of about as many
    /// slices as it has views' pixels.
    fn grid(&self, [width, height]: [usize; 2]) -> Option<Grid> {
        let most = self.slices.max_slice_nums;
        let view = self.slices.scale_resolution.pow(2);
        let count = (width * height).div_ceil(view).min(most);
        if count <= 1 {
            return None;
        }
        let shape = (width as f64 / height as f64).ln();
        let counts = (count - 1..=count + 1).filter(|&count| count != 1 && count <= most);
        let grids = counts.flat_map(|count| {
            let divisors = (1..=count).filter(move |columns| count.is_multiple_of(*columns));
            divisors.map(move |columns| Grid {
                rows: count / columns,
                columns,
            })
        });
        let error = |grid: &Grid| (shape - (grid.columns as f64 / grid.rows as f64).ln()).abs();
        // The first of equals, as in Python.
        grids.min_by(|a, b| error(a).total_cmp(&error(b)))
    }

    /// `[width, height]` of the view of an image (or of a slice) of this size.
    fn view_size(&self, size: [usize; 2], upscale: Upscale) -> [usize; 2] {
        let scale = self.slices.scale_resolution;
        let [width, height] = size;
        if width * height <= scale * scale && upscale == Upscale::No {
            return size.map(|side| divisible(side, self.patch_size));
        }
        let shape = width as f64 / height as f64;
        let height = (scale as f64 / shape.sqrt()).floor();
        let width = (height * shape).floor();
        [width, height].map(|side| divisible(side as usize, self.patch_size))
    }

    /// `[width, height]` of each slice.
    fn slice_size(&self, [width, height]: [usize; 2], slices: Grid) -> [usize; 2] {
        let slice = [
            divisible(width, slices.columns) / slices.columns,
            divisible(height, slices.rows) / slices.rows,
        ];
        self.view_size(slice, Upscale::Yes)
    }

    /// The patches of the part of `image` at `[x, y]`.
    fn cut(&self, image: &Image, [left, top]: [usize; 2], [width, height]: [usize; 2]) -> View {
        let side = self.patch_size;
        let grid = Grid {
            rows: height / side,
            columns: width / side,
        };
        let normalizer = self.normalizer();
        let mut pixel_values = Vec::with_capacity(width * height * 3);
        for place in 0..grid.places() {
            let (row, column) = (place / grid.columns, place % grid.columns);
            let (x, y) = (left + column * side, top + row * side);
            for channel in 0..3 {
                for y in y..y + side {
                    pixel_values.extend(normalizer.line(image, channel, y, x..x + side));
                }
            }
        }
        View { pixel_values, grid }
    }

    /// As the published processor computes, in 32 bits.
    fn normalizer(&self) -> Normalizer {
        let PreprocessorConfig {
            image_mean,
            image_std,
            ..
        } = *self.preprocessor;
        Normalizer::new(image_mean, image_std, |byte| f32::from(byte) / 255.0)
    }
}

/// Whether a small image is enlarged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upscale {
    Yes,
    No,
}

/// The multiple of `unit` nearest to a length, at least one; a half goes to the even one, as Python
/// rounds.
fn divisible(length: usize, unit: usize) -> usize {
    let units = (length as f64 / unit as f64).round_ties_even() as usize;
    units.max(1) * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slicer(preprocessor: &PreprocessorConfig, max_slice_nums: usize) -> Slicer<'_> {
        Slicer {
            slices: SliceConfig {
                max_slice_nums,
                scale_resolution: 448,
            },
            patch_size: 14,
            preprocessor,
        }
    }

    /// Sizes that `find_best_resize`, `get_sliced_grid` and `get_refine_size` give in Python.
    #[test]
    fn sizes_are_those_of_the_published_processor() {
        let preprocessor = PreprocessorConfig::default();
        let slicer = slicer(&preprocessor, 9);
        let view = |width, height| slicer.view_size([width, height], Upscale::Yes);
        assert_eq!(view(640, 480), [518, 392]);
        assert_eq!(view(100, 100), [448, 448]);
        assert_eq!(view(1000, 10), [4396, 42]);
        assert_eq!(view(10, 1_000_000), [14, 141_666]);
        assert_eq!(slicer.view_size([100, 70], Upscale::No), [98, 70]);
        assert_eq!(slicer.grid([448, 448]), None);
        let grid = |rows, columns| Some(Grid { rows, columns });
        assert_eq!(slicer.grid([1920, 1080]), grid(2, 4));
        assert_eq!(slicer.grid([450, 449]), grid(1, 2));
        assert_eq!(slicer.grid([449, 1345]), grid(3, 1));
        assert_eq!(
            slicer.slice_size(
                [1920, 1080],
                Grid {
                    rows: 2,
                    columns: 4
                }
            ),
            [420, 476]
        );
    }

    #[test]
    fn one_slice_is_the_whole_however_large() {
        let preprocessor = PreprocessorConfig::default();
        assert_eq!(slicer(&preprocessor, 1).grid([9000, 9000]), None);
    }

    #[test]
    fn patches_stand_by_rows_and_hold_a_channel_after_the_other() {
        let preprocessor = PreprocessorConfig {
            image_mean: [0.0; 3],
            image_std: [1.0 / 255.0; 3],
            ..PreprocessorConfig::default()
        };
        let slicer = Slicer {
            patch_size: 2,
            ..slicer(&preprocessor, 1)
        };
        let pixels = (0..4 * 4 * 3).collect();
        let image = Image::new(4, 4, pixels).unwrap();
        let view = slicer.cut(&image, [2, 0], [2, 4]);
        assert_eq!(
            view.grid,
            Grid {
                rows: 2,
                columns: 1
            }
        );
        let values: Vec<i32> = view
            .pixel_values
            .iter()
            .map(|value| value.round() as i32)
            .collect();
        assert_eq!(values[..8], [6, 9, 18, 21, 7, 10, 19, 22]);
        assert_eq!(values[12..16], [30, 33, 42, 45]);
    }

    proptest! {
        #[test]
        fn every_picture_has_views_of_whole_patches(width in 1usize..5000, height in 1usize..5000, most in 1usize..10) {
            let preprocessor = PreprocessorConfig::default();
            let slicer = slicer(&preprocessor, most);
            let size = [width, height];
            let grid = slicer.grid(size);
            prop_assert!(grid.is_none_or(|grid| (2..=most).contains(&grid.places())));
            let view = match grid {
                Some(grid) => slicer.slice_size(size, grid),
                None => slicer.view_size(size, Upscale::Yes),
            };
            prop_assert!(view.iter().all(|side| side % 14 == 0 && *side > 0));
        }
    }
}
