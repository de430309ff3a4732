//! A 3x3 convolution as Winograd's F(4x4, 3x3). Tiles of 6x6 inputs are transformed to 36 points, a matrix
//! product over the channels runs at each point, and its results are transformed to tiles of 4x4 outputs.
//!
//! An upsampled picture is never stored: the small one is read as if it were upsampled. It is zero at 11 of
//! the 36 points, which are left out. All is f32. On normally distributed values the error is 3e-6 of the
//! largest output: ten times that of a direct sum, and a tenth of what the decoder's parity allows.
//!
//! A task is a band of tile rows of all output channels. Inside it, the packed panels of about [`SEGMENT`]
//! tiles stay in the second- and third-level cache.

mod inputs;
mod outputs;
mod products;
mod sizes;
mod weights;

use rayon::prelude::*;

use super::transform::OUT;
use inputs::Inputs;
use outputs::Outputs;
use products::Products;
use sizes::{LANES, POINTS, ROWS, SEGMENT, Tiles};
pub(crate) use sizes::{Picture, Sizes};
pub(crate) use weights::pack;
use x2i_cpu::vectorize::vectorize;

/// `x [input, ..]` convolved with `weight [output, input, 3, 3]` as [`pack`] returns it, plus
/// `bias [output]`, into `out [output, height, width]`.
pub(crate) fn convolve(
    x: &[f32],
    weight: &[[f32; ROWS]],
    bias: &[f32],
    sizes: Sizes,
    out: &mut [f32],
) {
    let columns = sizes.width.div_ceil(OUT);
    let segments = columns.div_ceil(SEGMENT);
    let columns_of_segment = columns.div_ceil(segments);
    let tile_rows = (SEGMENT / columns_of_segment).max(1);
    let bands = bands(out, sizes, tile_rows).into_par_iter().enumerate();
    bands.for_each_init(Scratch::default, |scratch, (index, mut band)| {
        for first_column in (0..columns).step_by(columns_of_segment) {
            let tiles = Tiles {
                first_row: index * tile_rows,
                first_column,
                rows: band[0].len().div_ceil(OUT * sizes.width),
                columns: columns_of_segment.min(columns - first_column),
            };
            let panels = tiles.panels();
            scratch.resize(panels, sizes);
            let Scratch { values, products } = scratch;
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
    });
}

/// Splits `out [output, height, width]` into bands of `tile_rows` rows of tiles. A band has its rows of every
/// output channel.
fn bands(out: &mut [f32], sizes: Sizes, tile_rows: usize) -> Vec<Vec<&mut [f32]>> {
    let mut bands: Vec<Vec<&mut [f32]>> = Vec::new();
    bands.resize_with(sizes.height.div_ceil(tile_rows * OUT), Vec::new);
    for plane in out.chunks_exact_mut(sizes.height * sizes.width) {
        let rows = plane.chunks_mut(tile_rows * OUT * sizes.width);
        for (band, rows) in bands.iter_mut().zip(rows) {
            band.push(rows);
        }
    }
    bands
}

/// The buffers of a task.
#[derive(Default)]
struct Scratch {
    /// `[POINTS, panels, input][LANES]`
    values: Vec<[f32; LANES]>,
    /// `[POINTS, output / ROWS, panels][ROWS][LANES]`
    products: Vec<[[f32; LANES]; ROWS]>,
}

impl Scratch {
    fn resize(&mut self, panels: usize, sizes: Sizes) {
        let blocks = sizes.output.div_ceil(ROWS);
        self.values
            .resize(POINTS * panels * sizes.input, [0.0; LANES]);
        self.products
            .resize(POINTS * panels * blocks, [[0.0; LANES]; ROWS]);
    }
}
