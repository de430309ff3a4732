//! Edges by Canny's method, pixel for pixel those of OpenCV's `Canny(image, low, high)`: what ControlNets are trained on.
//!
//! Gradients are Sobel's, of the channel where `|dx| + |dy|` is largest. A pixel is an edge where that is a maximum across
//! the edge and above `high`, or above `low` and connected with such a pixel. Nothing is blurred before.

use super::Image;
use crate::error::Result;

/// Below it there is no edge, in `|dx| + |dy|`.
const LOW: i32 = 100;
/// Above it an edge begins.
const HIGH: i32 = 200;
/// `tan(22.5°)` in 15 bits, OpenCV's.
const TAN_22: i32 = 13_573;

/// A pixel's gradient.
#[derive(Debug, Clone, Copy, Default)]
struct Gradient {
    dx: i32,
    dy: i32,
    /// `|dx| + |dy|`.
    length: i32,
}

/// White edges on black, of the picture's size.
///
/// # Errors
/// As [`Image::new`].
pub(super) fn edges(image: &Image) -> Result<Image> {
    let (width, height) = (image.width(), image.height());
    let gradients = gradients(image);
    let mut found = vec![false; width * height];
    let mut waiting = vec![];
    let maxima: Vec<bool> = (0..width * height)
        .map(|at| is_maximum(&gradients, width, at))
        .collect();
    for at in 0..width * height {
        if maxima[at] && gradients[at].length > HIGH {
            found[at] = true;
            waiting.push(at);
        }
    }
    while let Some(at) = waiting.pop() {
        let (x, y) = (at % width, at / width);
        for row in y.saturating_sub(1)..(y + 2).min(height) {
            for column in x.saturating_sub(1)..(x + 2).min(width) {
                let near = row * width + column;
                if maxima[near] && !found[near] {
                    found[near] = true;
                    waiting.push(near);
                }
            }
        }
    }
    let pixels = found.iter().flat_map(|&edge| [u8::from(edge) * 255; 3]);
    Image::new(width, height, pixels.collect())
}

/// Sobel's gradients; the picture goes on beyond its border as it is there.
fn gradients(image: &Image) -> Vec<Gradient> {
    let (width, height) = (image.width(), image.height());
    let value = |x: usize, y: usize, channel: usize| {
        i32::from(image.pixels()[(y * width + x) * 3 + channel])
    };
    let mut all = Vec::with_capacity(width * height);
    for y in 0..height {
        let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)];
        for x in 0..width {
            let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
            let mut longest = Gradient::default();
            for channel in 0..3 {
                let at = |column: usize, row: usize| value(columns[column], rows[row], channel);
                let dx = at(2, 0) - at(0, 0) + 2 * (at(2, 1) - at(0, 1)) + at(2, 2) - at(0, 2);
                let dy = at(0, 2) - at(0, 0) + 2 * (at(1, 2) - at(1, 0)) + at(2, 2) - at(2, 0);
                let length = dx.abs() + dy.abs();
                if channel == 0 || length > longest.length {
                    longest = Gradient { dx, dy, length };
                }
            }
            all.push(longest);
        }
    }
    all
}

/// True for a gradient above [`LOW`] that is the longest across its edge.
fn is_maximum(gradients: &[Gradient], width: usize, at: usize) -> bool {
    let Gradient { dx, dy, length } = gradients[at];
    if length <= LOW {
        return false;
    }
    let (x, y) = ((at % width) as isize, (at / width) as isize);
    let height = (gradients.len() / width) as isize;
    // Beyond the border there is no gradient.
    let beside = |right: isize, down: isize| {
        let (x, y) = (x + right, y + down);
        match (0..width as isize).contains(&x) && (0..height).contains(&y) {
            true => gradients[y as usize * width + x as usize].length,
            false => 0,
        }
    };
    let (flat, steep) = (dx.abs() * TAN_22, dy.abs() << 15);
    if steep < flat {
        length > beside(-1, 0) && length >= beside(1, 0)
    } else if steep > flat + (dx.abs() << 16) {
        length > beside(0, -1) && length >= beside(0, 1)
    } else {
        let side = if (dx < 0) == (dy < 0) { 1 } else { -1 };
        length > beside(-side, -1) && length > beside(side, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `#` for an edge.
    fn drawn(image: &Image) -> Vec<String> {
        let rows = image.pixels().chunks_exact(image.width() * 3);
        let drawn = rows.map(|row| {
            let pixels = row.chunks_exact(3);
            pixels
                .map(|pixel| if pixel == [255; 3] { '#' } else { '.' })
                .collect()
        });
        drawn.collect()
    }

    /// A bright square of 4x4 at (2, 2), whose right half is nearly as dark as what is around it.
    fn square(bright: u8, faint: u8) -> Image {
        let pixels = (0..64).flat_map(|at| {
            let (x, y) = (at % 8, at / 8);
            let inside = (2..6).contains(&x) && (2..6).contains(&y);
            let value = match (inside, x < 4) {
                (true, true) => bright,
                (true, false) => faint,
                _ => 0,
            };
            [0, value, 0]
        });
        Image::new(8, 8, pixels.collect()).unwrap()
    }

    #[test]
    fn edges_are_those_of_opencv() {
        // OpenCV 5.0.0: cv2.Canny(square, 100, 200).
        let expected = [
            [
                "........", "...##...", "..#..#..", ".#...#..", ".#...#..", "..####..", "........",
                "........",
            ],
            [
                "........", "........", "..###...", ".#......", ".#......", "..###...", "........",
                "........",
            ],
            [
                "........", "........", "..####..", ".#...#..", ".#...#..", "..####..", "........",
                "........",
            ],
            [
                "........", "........", "........", "........", "........", "........", "........",
                "........",
            ],
        ];
        for ((bright, faint), expected) in [(255, 255), (255, 40), (60, 40), (30, 20)]
            .into_iter()
            .zip(expected)
        {
            assert_eq!(drawn(&edges(&square(bright, faint)).unwrap()), expected);
        }
    }

    #[test]
    fn a_picture_of_one_pixel_has_no_edge() {
        let image = Image::new(1, 1, vec![9, 200, 3]).unwrap();
        assert_eq!(edges(&image).unwrap().pixels(), [0; 3]);
    }
}
