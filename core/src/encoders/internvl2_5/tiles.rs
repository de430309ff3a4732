//! Images as square tiles, which the vision tower reads.
//!
//! An image is resized to the grid of tiles whose aspect ratio is nearest to its own and cut row by
//! row; an image of several tiles is also shown as a whole. Source: `dynamic_preprocess` and
//! `build_transform` of X2I's `utils/internvl_util.py`, which are the model card's. The reference
//! takes the candidate grids from a Python set, sorted by area only. That order decides nothing: no
//! image of one tile or more is half-way between two neighbouring ratios of equal area (a test
//! below). Not here: choosing frames of a video (`input`).

use crate::config::InternVl2_5Config;
use crate::error::Result;
use crate::image::Image;
use crate::image::normalize::Normalizer;
use crate::image::resize::resize_bicubic;

/// ImageNet's mean of each channel in 0..1.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
/// ImageNet's deviation of each channel.
const DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

/// The tiles of one image, as the vision tower reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiles {
    /// `[count, 3, size, size]`, normalized; the thumbnail is the last.
    pub pixel_values: Vec<f32>,
    /// Tiles, the thumbnail included.
    pub count: usize,
}

/// Cuts images into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiler {
    /// Pixels of a tile's side.
    pub size: usize,
    /// The most tiles of an image, its thumbnail aside.
    pub most: usize,
    /// Whether an image of several tiles is also shown as a whole.
    pub thumbnail: bool,
}

impl Tiler {
    /// The tiler of a config.
    pub fn new(config: &InternVl2_5Config) -> Self {
        Self {
            size: config.tile_size(),
            most: config.max_dynamic_patch,
            thumbnail: config.use_thumbnail,
        }
    }

    /// The tiles of one image.
    ///
    /// # Errors
    /// [`crate::Error::Image`] when the grid is too large an image.
    pub fn cut(&self, image: &Image) -> Result<Tiles> {
        let [columns, rows] = self.grid(image.width(), image.height());
        let whole = resize_bicubic(image, columns * self.size, rows * self.size)?;
        let mut tiles = Tiles {
            pixel_values: Vec::with_capacity(self.count([columns, rows]) * 3 * self.size.pow(2)),
            count: 0,
        };
        let normalizer = Normalizer::new(MEAN, DEVIATION, |byte| f32::from(byte) / 255.0);
        for row in 0..rows {
            for column in 0..columns {
                self.push(&mut tiles, &whole, [column, row], &normalizer);
            }
        }
        if self.count([columns, rows]) > columns * rows {
            let small = resize_bicubic(image, self.size, self.size)?;
            self.push(&mut tiles, &small, [0, 0], &normalizer);
        }
        Ok(tiles)
    }

    /// An image as one tile, as a frame of a video is shown.
    ///
    /// # Errors
    /// As [`cut`](Self::cut).
    pub fn single(&self, image: &Image) -> Result<Tiles> {
        let single = Self { most: 1, ..*self };
        single.cut(image)
    }

    /// Columns and rows of an image's tiles.
    pub fn grid(&self, width: usize, height: usize) -> [usize; 2] {
        let aspect = width as f64 / height as f64;
        let area = width as f64 * height as f64;
        let mut nearest = ([1, 1], f64::INFINITY);
        for [columns, rows] in grids(self.most) {
            let difference = (aspect - columns as f64 / rows as f64).abs();
            let tiles = (columns * rows) as f64;
            // Of two equally near grids the larger one, unless it would more than double the pixels.
            let larger = difference == nearest.1 && area > 0.5 * self.size.pow(2) as f64 * tiles;
            if difference < nearest.1 || larger {
                nearest = ([columns, rows], difference);
            }
        }
        nearest.0
    }

    /// Tiles of a grid of columns and rows, the thumbnail included.
    pub fn count(&self, [columns, rows]: [usize; 2]) -> usize {
        let tiles = columns * rows;
        tiles + usize::from(self.thumbnail && tiles > 1)
    }

    /// Appends the tile at a column and row of `image`, channel by channel.
    fn push(
        &self,
        tiles: &mut Tiles,
        image: &Image,
        [column, row]: [usize; 2],
        normalizer: &Normalizer,
    ) {
        let [columns, rows] = [column, row].map(|at| at * self.size..(at + 1) * self.size);
        for channel in 0..3 {
            for y in rows.clone() {
                let line = normalizer.line(image, channel, y, columns.clone());
                tiles.pixel_values.extend(line);
            }
        }
        tiles.count += 1;
    }
}

/// All `[columns, rows]` of 1 to `most` tiles, the fewest tiles first.
fn grids(most: usize) -> Vec<[usize; 2]> {
    let mut grids: Vec<[usize; 2]> = (1..=most)
        .flat_map(|columns| (1..=most / columns).map(move |rows| [columns, rows]))
        .collect();
    grids.sort_by_key(|[columns, rows]| columns * rows);
    grids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MOST_TILES;
    use proptest::prelude::*;

    fn tiler(size: usize, most: usize) -> Tiler {
        Tiler {
            size,
            most,
            thumbnail: true,
        }
    }

    /// An image whose red is the column, green the row, blue 7.
    fn places(width: usize, height: usize) -> Image {
        let pixels = (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 7]));
        Image::new(width, height, pixels.collect()).unwrap()
    }

    /// Bytes of a normalized tile, back from its values.
    fn bytes(tiles: &Tiles, size: usize, tile: usize, channel: usize) -> Vec<u8> {
        let plane = (tile * 3 + channel) * size * size;
        let values = &tiles.pixel_values[plane..plane + size * size];
        let byte = |&value: &f32| {
            ((f64::from(value) * DEVIATION[channel] + MEAN[channel]) * 255.0).round()
        };
        values.iter().map(|value| byte(value) as u8).collect()
    }

    #[test]
    fn tiles_are_cut_row_by_row_and_the_whole_stands_last() {
        let tiles = tiler(4, 6).cut(&places(12, 8)).unwrap();
        assert_eq!(tiles.count, 7);
        for tile in 0..6 {
            let (column, row) = (tile % 3, tile / 3);
            let xs = (0..16)
                .map(|i| (column * 4 + i % 4) as u8)
                .collect::<Vec<_>>();
            let ys = (0..16).map(|i| (row * 4 + i / 4) as u8).collect::<Vec<_>>();
            assert_eq!(bytes(&tiles, 4, tile, 0), xs, "tile {tile}");
            assert_eq!(bytes(&tiles, 4, tile, 1), ys, "tile {tile}");
            assert_eq!(bytes(&tiles, 4, tile, 2), [7; 16], "tile {tile}");
        }
        let small = resize_bicubic(&places(12, 8), 4, 4).unwrap();
        let reds: Vec<u8> = small.pixels().iter().copied().step_by(3).collect();
        assert_eq!(bytes(&tiles, 4, 6, 0), reds);
    }

    #[test]
    fn a_single_tile_has_no_thumbnail() {
        assert_eq!(tiler(4, 12).cut(&places(5, 5)).unwrap().count, 1);
        assert_eq!(tiler(4, 12).single(&places(40, 5)).unwrap().count, 1);
        let bare = Tiler {
            thumbnail: false,
            ..tiler(4, 6)
        };
        assert_eq!(bare.cut(&places(12, 8)).unwrap().count, 6);
    }

    #[test]
    fn a_small_picture_is_not_blown_up_to_a_larger_grid_of_its_shape() {
        let tiler = tiler(448, 12);
        assert_eq!(tiler.grid(448, 448), [1, 1]);
        assert_eq!(tiler.grid(634, 634), [2, 2]); // just over half of 2 x 2 tiles
        assert_eq!(tiler.grid(633, 633), [1, 1]);
        assert_eq!(tiler.grid(1, 100_000), [1, 12]);
    }

    /// Only a tie between equal areas would depend on the set's order, and ties are between
    /// neighbours: a shape in between would be nearer than both.
    #[test]
    fn no_two_neighbouring_shapes_have_an_area_in_common() {
        for most in 1..=MOST_TILES {
            let mut grids = grids(most);
            grids.sort_by_key(|[columns, rows]| columns * rows);
            grids.sort_by(|a, b| (a[0] * b[1]).cmp(&(b[0] * a[1])));
            let shapes: Vec<&[[usize; 2]]> =
                grids.chunk_by(|a, b| a[0] * b[1] == b[0] * a[1]).collect();
            let areas = |shape: &[[usize; 2]]| -> Vec<usize> {
                shape.iter().map(|[columns, rows]| columns * rows).collect()
            };
            for pair in shapes.windows(2) {
                let (left, right) = (areas(pair[0]), areas(pair[1]));
                assert!(
                    left.iter().all(|area| !right.contains(area)),
                    "{most}: {pair:?}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn grids_keep_within_the_limit(width in 1usize..5000, height in 1usize..5000, most in 1usize..=12) {
            let [columns, rows] = tiler(448, most).grid(width, height);
            prop_assert!((1..=most).contains(&(columns * rows)));
        }
    }
}
