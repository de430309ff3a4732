//! A 3x3 convolution as Winograd's F(4x4, 3x3): a picture's tiles of 6x6 inputs are brought to 36
//! points, a matrix product over the channels runs at each, and its results become 4x4 outputs.
//!
//! Where every pixel was doubled before, the picture is read as if it were: it is zero at 11 of the
//! 36 points, which are left out. f32 throughout: on normal values the error is 3e-6 of the largest
//! output, ten times a direct sum's and a tenth of what the decoder's parity allows.
//!
//! A task is a band of tile rows of all output channels; inside, the packed panels of about
//! [`SEGMENT`] tiles stay in the second and third level cache.

use rayon::prelude::*;

use super::transform::{IN, OUT, ZERO_OF_PAIRS, inputs, outputs, weights};
use crate::vectorize::{Kernel, multiply_add, vectorize};

/// Points of a tile.
const POINTS: usize = IN * IN;

/// Channels of a register block: with [`LANES`] its sums fill 12 of AVX2's 16 registers, or 8 of
/// SIMD128's.
const ROWS: usize = if cfg!(target_family = "wasm") { 4 } else { 6 };

/// Tiles of a register block.
const LANES: usize = if cfg!(target_family = "wasm") { 8 } else { 16 };

/// Tiles transformed at a time: fewer read the weights too often, more leave the cache.
const SEGMENT: usize = 64;

/// How the picture that is convolved follows from the one in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Picture {
    /// It is the one in memory.
    Same,
    /// Each pixel becomes 2 x 2 first.
    Twice,
}

impl Picture {
    /// Pixels of the convolved picture's side for one in memory.
    pub(crate) fn scale(self) -> usize {
        match self {
            Self::Same => 1,
            Self::Twice => 2,
        }
    }

    /// The points, as row and column, where this picture is not zero.
    fn points(self) -> impl Iterator<Item = [usize; 2]> {
        let axis =
            move || (0..IN).filter(move |&point| self == Self::Same || point != ZERO_OF_PAIRS);
        axis().flat_map(move |row| axis().map(move |column| [row, column]))
    }
}

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) input: usize,
    pub(crate) output: usize,
    /// Of the picture in memory, and of the one that is convolved and comes out.
    pub(crate) picture: Picture,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// `x [input, ..]` convolved with `weight [output, input, 3, 3]`, plus `bias [output]`, into
/// `out [output, height, width]`; `weight` comes from [`pack`].
pub(crate) fn convolve(
    x: &[f32],
    weight: &[[f32; ROWS]],
    bias: &[f32],
    sizes: Sizes,
    out: &mut [f32],
) {
    let Sizes { height, width, .. } = sizes;
    let columns = width.div_ceil(OUT);
    let segments = columns.div_ceil(SEGMENT);
    let columns_of_segment = columns.div_ceil(segments);
    let tile_rows = (SEGMENT / columns_of_segment).max(1);
    // The same rows of all output channels belong to one task.
    let band_len = tile_rows * OUT * width;
    let mut bands: Vec<Vec<&mut [f32]>> = Vec::new();
    bands.resize_with(height.div_ceil(tile_rows * OUT), Vec::new);
    for plane in out.chunks_exact_mut(height * width) {
        for (band, rows) in bands.iter_mut().zip(plane.chunks_mut(band_len)) {
            band.push(rows);
        }
    }
    bands.into_par_iter().enumerate().for_each_init(
        Scratch::default,
        |scratch, (index, mut band)| {
            for first_column in (0..columns).step_by(columns_of_segment) {
                let tiles = Tiles {
                    first_row: index * tile_rows,
                    first_column,
                    rows: band[0].len().div_ceil(OUT * width),
                    columns: columns_of_segment.min(columns - first_column),
                };
                let Scratch { values, products } = scratch;
                let panels = tiles.panels();
                values.resize(POINTS * panels * sizes.input, [0.0; LANES]);
                products.resize(
                    POINTS * panels * sizes.output.div_ceil(ROWS),
                    [[0.0; LANES]; ROWS],
                );
                vectorize(Inputs {
                    x,
                    sizes,
                    tiles,
                    values,
                });
                vectorize(Products {
                    weight,
                    values,
                    sizes,
                    panels,
                    products,
                });
                vectorize(Outputs {
                    products,
                    bias,
                    sizes,
                    tiles,
                    band: &mut band,
                });
            }
        },
    );
}

/// What a task works in.
#[derive(Default)]
struct Scratch {
    /// `[POINTS, panels, input][LANES]`
    values: Vec<[f32; LANES]>,
    /// `[POINTS, output / ROWS, panels][ROWS][LANES]`
    products: Vec<[[f32; LANES]; ROWS]>,
}

/// A rectangle of tiles, numbered row by row.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    first_row: usize,
    first_column: usize,
    rows: usize,
    columns: usize,
}

impl Tiles {
    /// Panels of [`LANES`] tiles.
    fn panels(self) -> usize {
        (self.rows * self.columns).div_ceil(LANES)
    }
}

/// The weights `[output, input, 3, 3]` at the points: `[output / ROWS, POINTS, input][ROWS]`.
pub(crate) fn pack(weight: &[f32], input: usize, output: usize) -> Vec<[f32; ROWS]> {
    let mut packed = vec![[0.0; ROWS]; output.div_ceil(ROWS) * POINTS * input];
    packed
        .par_chunks_exact_mut(POINTS * input)
        .zip(weight.par_chunks(ROWS * input * 9))
        .for_each(|(packed, weight)| {
            vectorize(Weights {
                weight,
                input,
                packed,
            })
        });
    packed
}

struct Weights<'a> {
    /// Of at most [`ROWS`] output channels.
    weight: &'a [f32],
    input: usize,
    packed: &'a mut [[f32; ROWS]],
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (row, weight) in self.weight.chunks_exact(self.input * 9).enumerate() {
            let (filters, _) = weight.as_chunks::<9>();
            for (channel, filter) in filters.iter().enumerate() {
                let (taps, _) = filter.as_chunks::<3>();
                let rows: [[f32; IN]; 3] = std::array::from_fn(|y| weights(taps[y]));
                for column in 0..IN {
                    let points = weights(rows.map(|row| row[column]));
                    for (y, point) in points.into_iter().enumerate() {
                        self.packed[(y * IN + column) * self.input + channel][row] = point;
                    }
                }
            }
        }
    }
}

/// Brings the inputs of a rectangle of tiles to the points.
struct Inputs<'a> {
    x: &'a [f32],
    sizes: Sizes,
    tiles: Tiles,
    values: &'a mut [[f32; LANES]],
}

/// A row of a segment's tiles, and what its last tile reads of the next.
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
                #[allow(clippy::needless_range_loop, reason = "a column of all lines at once")]
                for at in 0..LINE {
                    let d = [
                        lines[0][at],
                        lines[1][at],
                        lines[2][at],
                        lines[3][at],
                        lines[4][at],
                        lines[5][at],
                    ];
                    [
                        lines[0][at],
                        lines[1][at],
                        lines[2][at],
                        lines[3][at],
                        lines[4][at],
                        lines[5][at],
                    ] = inputs(d);
                }
                for (y, line) in lines.iter().enumerate() {
                    if sizes.picture == Picture::Twice && y == ZERO_OF_PAIRS {
                        continue;
                    }
                    for first in (0..tiles.columns).step_by(LANES) {
                        let points = points_of(line, first);
                        let count = LANES.min(tiles.columns - first);
                        for (x, point) in points.iter().enumerate() {
                            let panel = (y * IN + x) * panels;
                            let tile = row * tiles.columns + first;
                            let at = |tile: usize| (panel + tile / LANES) * sizes.input + channel;
                            let (lane, split) = (tile % LANES, count.min(LANES - tile % LANES));
                            if split == LANES {
                                values[at(tile)] = *point;
                                continue;
                            }
                            values[at(tile)][lane..lane + split].copy_from_slice(&point[..split]);
                            if split < count {
                                values[at(tile + split)][..count - split]
                                    .copy_from_slice(&point[split..count]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Row `y` of the picture from pixel `first - 1` on, zero outside.
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

/// The points along a line, of the tiles from `first` on.
#[inline(always)]
fn points_of(line: &[f32; LINE], first: usize) -> [[f32; LANES]; IN] {
    let (tiles, _) = line[first * OUT..][..(LANES + 1) * OUT].as_chunks::<OUT>();
    let mut points = [[0.0; LANES]; IN];
    for lane in 0..LANES {
        let ([a, b, c, d], [e, f, ..]) = (tiles[lane], tiles[lane + 1]);
        [
            points[0][lane],
            points[1][lane],
            points[2][lane],
            points[3][lane],
            points[4][lane],
            points[5][lane],
        ] = inputs([a, b, c, d, e, f]);
    }
    points
}

/// The matrix products over the channels.
struct Products<'a> {
    weight: &'a [[f32; ROWS]],
    values: &'a [[f32; LANES]],
    sizes: Sizes,
    panels: usize,
    products: &'a mut [[[f32; LANES]; ROWS]],
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (panels, input) = (self.panels, self.sizes.input);
        let blocks = self.sizes.output.div_ceil(ROWS);
        for [y, x] in self.sizes.picture.points() {
            let point = y * IN + x;
            let values = &self.values[point * panels * input..][..panels * input];
            for block in 0..blocks {
                let weight = &self.weight[(block * POINTS + point) * input..][..input];
                let products = &mut self.products[(point * blocks + block) * panels..][..panels];
                for (products, values) in products.iter_mut().zip(values.chunks_exact(input)) {
                    *products = product(weight, values);
                }
            }
        }
    }
}

/// One register block.
#[inline(always)]
fn product(weight: &[[f32; ROWS]], values: &[[f32; LANES]]) -> [[f32; LANES]; ROWS] {
    let mut sums = [[0.0; LANES]; ROWS];
    for (weight, values) in weight.iter().zip(values) {
        for (sums, &weight) in sums.iter_mut().zip(weight) {
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum = multiply_add(weight, value, *sum);
            }
        }
    }
    sums
}

/// Brings the products of a rectangle of tiles to a band of every output channel.
struct Outputs<'a, 'b> {
    products: &'a [[[f32; LANES]; ROWS]],
    bias: &'a [f32],
    sizes: Sizes,
    tiles: Tiles,
    band: &'a mut [&'b mut [f32]],
}

impl Kernel for Outputs<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { sizes, tiles, .. } = self;
        let (panels, blocks) = (tiles.panels(), sizes.output.div_ceil(ROWS));
        for (channel, (out, &bias)) in self.band.iter_mut().zip(self.bias).enumerate() {
            let (block, row) = (channel / ROWS, channel % ROWS);
            for panel in 0..panels {
                let lines = lines_of(sizes.picture, bias, |point| {
                    &self.products[(point * blocks + block) * panels + panel][row]
                });
                let (mut tile, mut lane) = (panel * LANES, 0);
                while lane < LANES && tile < tiles.rows * tiles.columns {
                    // The lanes that lie in one row of tiles.
                    let (y, column) = (tile / tiles.columns, tile % tiles.columns);
                    let count = (LANES - lane).min(tiles.columns - column);
                    let first = (tiles.first_column + column) * OUT;
                    let len = (count * OUT).min(sizes.width - first);
                    let rows = out[y * OUT * sizes.width..].chunks_exact_mut(sizes.width);
                    for (out, line) in rows.zip(&lines) {
                        let line = &line.as_flattened()[lane * OUT..][..len];
                        out[first..first + len].copy_from_slice(line);
                    }
                    (tile, lane) = (tile + count, lane + count);
                }
            }
        }
    }
}

/// The output rows of a panel's tiles. Loops, not closures: those would not be compiled for the
/// wider unit.
#[inline(always)]
fn lines_of<'a>(
    picture: Picture,
    bias: f32,
    products: impl Fn(usize) -> &'a [f32; LANES],
) -> [[[f32; OUT]; LANES]; OUT] {
    let mut columns = [[[0.0; LANES]; IN]; OUT];
    #[allow(clippy::needless_range_loop, reason = "a column of all rows at once")]
    for x in 0..IN {
        let mut m = [[0.0; LANES]; IN];
        for (y, m) in m.iter_mut().enumerate() {
            let is_zero = y == ZERO_OF_PAIRS || x == ZERO_OF_PAIRS;
            if picture == Picture::Same || !is_zero {
                *m = *products(y * IN + x);
            }
        }
        for lane in 0..LANES {
            let m = [
                m[0][lane], m[1][lane], m[2][lane], m[3][lane], m[4][lane], m[5][lane],
            ];
            let sums = outputs(m);
            for y in 0..OUT {
                columns[y][x][lane] = sums[y];
            }
        }
    }
    let mut lines = [[[0.0; OUT]; LANES]; OUT];
    for (line, m) in lines.iter_mut().zip(&columns) {
        for (lane, line) in line.iter_mut().enumerate() {
            *line = outputs([
                m[0][lane], m[1][lane], m[2][lane], m[3][lane], m[4][lane], m[5][lane],
            ]);
            for sum in line {
                *sum += bias;
            }
        }
    }
    lines
}
