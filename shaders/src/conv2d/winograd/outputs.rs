//! The last step: the transform of the products to the outputs.

use super::sizes::{LANES, Picture, ROWS, Sizes, Tiles};
use crate::conv2d::transform::{IN, OUT, ZERO_OF_PAIRS, column, outputs};
use x2i_cpu::vectorize::Kernel;

/// Transforms the products of a rectangle of tiles to the outputs, in a band of every output channel.
pub(crate) struct Outputs<'a, 'b> {
    pub(super) products: &'a [[[f32; LANES]; ROWS]],
    pub(super) bias: &'a [f32],
    pub(super) sizes: Sizes,
    pub(super) tiles: Tiles,
    pub(super) band: &'a mut [&'b mut [f32]],
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
                    // The lanes that lie in the same row of tiles.
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

/// The output rows of a panel's tiles. It uses loops, because closures would not be compiled for the wider
/// unit.
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
            let sums = outputs(column(&m, lane));
            for y in 0..OUT {
                columns[y][x][lane] = sums[y];
            }
        }
    }
    let mut lines = [[[0.0; OUT]; LANES]; OUT];
    for (line, m) in lines.iter_mut().zip(&columns) {
        for (lane, line) in line.iter_mut().enumerate() {
            *line = outputs(column(m, lane));
            for sum in line {
                *sum += bias;
            }
        }
    }
    lines
}
