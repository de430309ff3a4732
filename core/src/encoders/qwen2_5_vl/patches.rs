//! Images and video frames as rows of pixels, which the vision tower's first layer reads.
//!
//! Sides become multiples of a merged patch. Patches are in the order `(t, h/2, w/2, 2, 2)`, so
//! that the four patches of one token are neighbours. Source: transformers 4.49's
//! `Qwen2VLImageProcessor` (PIL's bicubic, CLIP's mean and deviation); `qwen_vl_utils` 0.0.8 for a
//! video's frames.

use crate::config::{PreprocessorConfig, VisionConfig};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::image::normalize::Normalizer;
use crate::image::resize::resize_bicubic;
use crate::image::resize_float::resize_bicubic_float;

/// Longest side by shortest that the model was trained with.
const MAX_ASPECT_RATIO: f64 = 200.0;

/// The least tokens of a frame in `qwen_vl_utils`, where it does not shrink them.
const VIDEO_MIN_TOKENS: usize = 128;

/// Patches along time, height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Groups of `temporal_patch_size` frames.
    pub t: usize,
    /// Rows of patches.
    pub h: usize,
    /// Columns of patches.
    pub w: usize,
}

impl Grid {
    /// Patches in all.
    pub fn patches(&self) -> usize {
        self.t * self.h * self.w
    }
}

/// One image or one video.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    /// `[grid.patches(), channels * temporal_patch_size * patch_size²]`, normalized.
    pub pixel_values: Vec<f32>,
    /// Extent in time and space.
    pub grid: Grid,
    /// Seconds from one temporal step to the next; 0 for an image.
    pub seconds_per_grid: f32,
}

/// Cuts images into patches.
#[derive(Debug, Clone, Copy)]
pub struct Patcher<'a> {
    /// Sizes of patches.
    pub vision: &'a VisionConfig,
    /// Limits of an image's size and the colours' mean and deviation.
    pub preprocessor: &'a PreprocessorConfig,
}

impl Patcher<'_> {
    /// Patches of one image; `name` is for messages.
    ///
    /// # Errors
    /// [`Error::Image`] for a side shorter than one token or an aspect ratio above 200.
    pub fn image(&self, name: &str, image: &Image) -> Result<Patches> {
        self.frames(name, std::slice::from_ref(image), 0.0)
    }

    /// Patches of frames of one size; the last is repeated to fill `temporal_patch_size`.
    ///
    /// # Errors
    /// As [`image`](Self::image), and for frames of several sizes or none.
    pub fn frames(&self, name: &str, frames: &[Image], seconds_per_grid: f32) -> Result<Patches> {
        let Some(first) = frames.first() else {
            return Err(Error::image(name, "has no frames"));
        };
        let [height, width] = smart_resize(
            name,
            [first.height(), first.width()],
            self.factor(),
            self.preprocessor,
        )?;
        if height == 0 || width == 0 {
            let reason = format!(
                "{}x{} leaves no pixels when it shrinks to the model's {} (max_pixels)",
                first.width(),
                first.height(),
                self.preprocessor.max_pixels
            );
            return Err(Error::image(name, reason));
        }
        let mut planes = Vec::with_capacity(frames.len());
        for frame in frames {
            if (frame.width(), frame.height()) != (first.width(), first.height()) {
                return Err(Error::image(name, "has frames of several sizes"));
            }
            planes.push(resize_bicubic(frame, width, height)?);
        }
        let patch = self.vision.patch_size;
        let grid = Grid {
            t: frames.len().div_ceil(self.vision.temporal_patch_size),
            h: height / patch,
            w: width / patch,
        };
        Ok(Patches {
            pixel_values: self.cut(&planes, grid),
            grid,
            seconds_per_grid,
        })
    }

    /// Frames of a video as `qwen_vl_utils` 0.0.8 fetches them with this `max_pixels`. Its least
    /// number of pixels may be the greater one: frames under both grow to it.
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn fetch(&self, name: &str, frames: &[Image], max_pixels: usize) -> Result<Vec<Image>> {
        let limits = PreprocessorConfig {
            min_pixels: VIDEO_MIN_TOKENS * self.factor().pow(2),
            max_pixels,
            ..self.preprocessor.clone()
        };
        let fetch = |frame: &Image| {
            let size = [frame.height(), frame.width()];
            let [height, width] = smart_resize(name, size, self.factor(), &limits)?;
            resize_bicubic_float(frame, width.max(self.factor()), height.max(self.factor()))
        };
        frames.iter().map(fetch).collect()
    }

    /// Pixels of one token's side.
    fn factor(&self) -> usize {
        self.vision.patch_size * self.vision.spatial_merge_size
    }

    /// Rows in the order `(t, h/merge, w/merge, merge, merge)`, each `(channel, frame, y, x)`.
    fn cut(&self, frames: &[Image], grid: Grid) -> Vec<f32> {
        let VisionConfig {
            patch_size: side,
            spatial_merge_size: merge,
            temporal_patch_size: depth,
            in_channels,
            ..
        } = *self.vision;
        let normalizer = self.normalizer();
        let mut rows = Vec::with_capacity(grid.patches() * in_channels * depth * side * side);
        for t in 0..grid.t {
            for [row, column] in merged_raster(grid.h, grid.w, merge) {
                let (x, y) = (column * side, row * side);
                for channel in 0..3 {
                    for frame in t * depth..(t + 1) * depth {
                        let frame = &frames[frame.min(frames.len() - 1)];
                        for y in y..y + side {
                            rows.extend(normalizer.line(frame, channel, y, x..x + side));
                        }
                    }
                }
            }
        }
        rows
    }

    /// As transformers computes: the division in 64 bits, the rest in 32.
    fn normalizer(&self) -> Normalizer {
        let PreprocessorConfig {
            image_mean,
            image_std,
            ..
        } = *self.preprocessor;
        Normalizer::new(image_mean, image_std, |byte| {
            (f64::from(byte) * (1.0 / 255.0)) as f32
        })
    }
}

/// Rows and columns of a grid's patches, `merge` x `merge` blocks one after another.
pub(super) fn merged_raster(h: usize, w: usize, merge: usize) -> impl Iterator<Item = [usize; 2]> {
    let blocks =
        (0..h / merge).flat_map(move |row| (0..w / merge).map(move |column| [row, column]));
    blocks.flat_map(move |[row, column]| {
        let inner = (0..merge).flat_map(move |y| (0..merge).map(move |x| [y, x]));
        inner.map(move |[y, x]| [row * merge + y, column * merge + x])
    })
}

/// The size `[height, width]` that an image is resized to: multiples of `factor`, within
/// `min_pixels` and `max_pixels`, near its aspect ratio. A long image under a small `max_pixels`
/// may come out with a side of 0, as in transformers.
///
/// # Errors
/// [`Error::Image`] for a side under `factor` or an aspect ratio above 200, as transformers 4.49.
pub fn smart_resize(
    name: &str,
    size: [usize; 2],
    factor: usize,
    limits: &PreprocessorConfig,
) -> Result<[usize; 2]> {
    let [height, width] = size.map(|side| side as f64);
    let (short, long) = (height.min(width), height.max(width));
    if short < factor as f64 {
        let reason =
            format!("{width}x{height} is too small: the model needs {factor} pixels on every side");
        return Err(Error::image(name, reason));
    }
    if long / short > MAX_ASPECT_RATIO {
        let reason = format!(
            "{width}x{height} has an aspect ratio of {:.0}; the model takes at most {MAX_ASPECT_RATIO}",
            long / short
        );
        return Err(Error::image(name, reason));
    }
    let factor = factor as f64;
    let (least, most) = (limits.min_pixels as f64, limits.max_pixels as f64);
    let [mut rows, mut columns] =
        [height, width].map(|side| (side / factor).round_ties_even() * factor);
    if rows * columns > most {
        let shrink = (height * width / most).sqrt();
        [rows, columns] = [height, width].map(|side| (side / shrink / factor).floor() * factor);
    } else if rows * columns < least {
        let grow = (least / (height * width)).sqrt();
        [rows, columns] = [height, width].map(|side| (side * grow / factor).ceil() * factor);
    }
    Ok([rows as usize, columns as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resized(height: usize, width: usize) -> Result<[usize; 2]> {
        smart_resize(
            "image 1",
            [height, width],
            28,
            &PreprocessorConfig::default(),
        )
    }

    #[test]
    fn impossible_pictures_are_named() {
        let small = resized(1, 500).unwrap_err().to_string();
        assert_eq!(
            small,
            "image 1: 500x1 is too small: the model needs 28 pixels on every side"
        );
        let long = resized(28, 100_000).unwrap_err().to_string();
        assert!(long.contains("aspect ratio of 3571"), "{long}");
    }

    #[test]
    fn a_half_rounds_to_even_as_python_does() {
        assert_eq!(resized(28 * 2 + 14, 28 * 3 + 14).unwrap(), [56, 112]);
    }

    #[test]
    fn merge_blocks_are_contiguous() {
        let order: Vec<_> = merged_raster(2, 4, 2).collect();
        assert_eq!(
            order,
            [
                [0, 0],
                [0, 1],
                [1, 0],
                [1, 1],
                [0, 2],
                [0, 3],
                [1, 2],
                [1, 3]
            ]
        );
    }

    #[test]
    fn odd_frames_repeat_the_last() {
        let vision = VisionConfig {
            patch_size: 2,
            spatial_merge_size: 1,
            ..VisionConfig::default()
        };
        let preprocessor = PreprocessorConfig {
            min_pixels: 4,
            ..PreprocessorConfig::default()
        };
        let patcher = Patcher {
            vision: &vision,
            preprocessor: &preprocessor,
        };
        let frame = |byte| Image::new(2, 2, vec![byte; 12]).unwrap();
        let patches = patcher
            .frames("video", &[frame(0), frame(255), frame(7)], 1.0)
            .unwrap();
        assert_eq!(patches.grid, Grid { t: 2, h: 1, w: 1 });
        let (first, second) = patches.pixel_values.split_at(24);
        assert!(first[0] < first[4]); // two frames of channel 0, 4 pixels each
        assert_eq!(second[0], second[4]);
    }

    proptest! {
        #[test]
        fn sizes_are_multiples_within_limits(height in 28usize..3000, width in 28usize..3000) {
            let limits = PreprocessorConfig { min_pixels: 3136, max_pixels: 200_704, ..PreprocessorConfig::default() };
            if let Ok([rows, columns]) = smart_resize("image", [height, width], 28, &limits) {
                prop_assert!(rows % 28 == 0 && columns % 28 == 0);
                prop_assert!((3136..=200_704).contains(&(rows * columns)), "{rows}x{columns}");
            }
        }
    }
}
