//! The second step: the transform of the inputs.

use std::ops::Range;

use super::sizes::{LANES, Picture, SEGMENT, Sizes, Tiles};
use crate::conv2d::transform::{IN, OUT, ZERO_OF_PAIRS, column, inputs, set_column};
use x2i_cpu::vectorize::Kernel;

/// Transforms the inputs of a rectangle of tiles to the points.
pub(crate) struct Inputs<'a> {
    pub(super) x: &'a [f32],
    pub(super) sizes: Sizes,
    pub(super) tiles: Tiles,
    pub(super) values: &'a mut [[f32; LANES]],
}

/// Pixels of a row of a segment's tiles, with those that the last tile shares with its right neighbour.
const LINE: usize = (SEGMENT + 1) * OUT;

impl Kernel for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            x,
            sizes,
            tiles,
            values,
        } = self;
        let scale = sizes.picture.scale();
        let plane = (sizes.height / scale) * (sizes.width / scale);
        let panels = tiles.panels();
        let mut lines = [[0.0; LINE]; IN];
        for (channel, x) in x.chunks_exact(plane).enumerate() {
            for row in 0..tiles.rows {
                for (i, line) in lines.iter_mut().enumerate() {
                    let y = ((tiles.first_row + row) * OUT + i).wrapping_sub(1);
                    read_line(x, sizes, y, tiles.first_column * OUT, line);
                }
                for at in 0..LINE {
                    let points = inputs(column(&lines, at));
                    set_column(&mut lines, at, points);
                }
                for (y, line) in lines.iter().enumerate() {
                    if sizes.picture == Picture::Twice && y == ZERO_OF_PAIRS {
                        continue;
                    }
                    for first in (0..tiles.columns).step_by(LANES) {
                        let points = points_of(line, first);
                        let count = LANES.min(tiles.columns - first);
                        let tile = row * tiles.columns + first;
                        for (x, point) in points.iter().enumerate() {
                            let values = &mut values[(y * IN + x) * panels * sizes.input..];
                            store(values, sizes.input, channel, tile..tile + count, point);
                        }
                    }
                }
            }
        }
    }
}

/// Stores a point of up to [`LANES`] tiles, which may span two panels, in
/// `values [panels, input][LANES]`.
#[inline(always)]
fn store(
    values: &mut [[f32; LANES]],
    input: usize,
    channel: usize,
    tiles: Range<usize>,
    point: &[f32; LANES],
) {
    let (panel, lane, count) = (tiles.start / LANES, tiles.start % LANES, tiles.len());
    let split = count.min(LANES - lane);
    let here = &mut values[panel * input + channel];
    if split == LANES {
        *here = *point;
        return;
    }
    here[lane..lane + split].copy_from_slice(&point[..split]);
    if split < count {
        let next = &mut values[(panel + 1) * input + channel];
        next[..count - split].copy_from_slice(&point[split..count]);
    }
}

/// Reads row `y` of the convolved picture from pixel `first - 1` on; zeros outside of it.
#[inline(always)]
fn read_line(x: &[f32], sizes: Sizes, y: usize, first: usize, line: &mut [f32; LINE]) {
    if y >= sizes.height {
        line.fill(0.0);
        return;
    }
    let (start, end) = (first.saturating_sub(1), sizes.width.min(first + LINE - 1));
    let (left, rest) = line.split_at_mut(start + 1 - first);
    let (inside, right) = rest.split_at_mut(end - start);
    left.fill(0.0);
    right.fill(0.0);
    match sizes.picture {
        Picture::Same => inside.copy_from_slice(&x[y * sizes.width..][start..end]),
        Picture::Twice => {
            let row = &x[y / 2 * (sizes.width / 2)..][..sizes.width / 2];
            for (value, pixel) in inside.iter_mut().zip(start..end) {
                *value = row[pixel / 2];
            }
        }
    }
}

/// The points along a line of [`LANES`] tiles from `first` on.
#[inline(always)]
fn points_of(line: &[f32; LINE], first: usize) -> [[f32; LANES]; IN] {
    let (tiles, _) = line[first * OUT..][..(LANES + 1) * OUT].as_chunks::<OUT>();
    let mut points = [[0.0; LANES]; IN];
    for lane in 0..LANES {
        let ([a, b, c, d], [e, f, ..]) = (tiles[lane], tiles[lane + 1]);
        set_column(&mut points, lane, inputs([a, b, c, d, e, f]));
    }
    points
}
