//! Products on a machine of tiles: Intel's AMX.
//!
//! A tile of inputs has 16 rows, a tile of weights 16 columns, and both the 32 numbers of a group along the inner
//! dimension, because the next group has other scales. Their product leaves the tiles as whole numbers, which are exact,
//! and takes the scales as the block says. Half of a tile's depth stays unused; in exchange, nothing is rounded but the
//! inputs: to 8 bits along a [`SPAN`], as VNNI has them.
//!
//! What the machine does is a trait: AMX itself, and a loop, with which all else here is tested on any processor.

mod amx;
mod groups;
mod machine;
mod scaling;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use super::blocks::Weights;
use super::rounding::{CHUNK, COLUMNS};
use super::tasks::{STRIPE, share_of_rows, write};
use crate::formats::GROUP;
use crate::vectorize::{Kernel, vectorize};
use amx::Amx;
pub(super) use groups::Signed;
use groups::{HALVES, InputGroup, LANES, Pack, ROWS, SPAN, WeightGroup};
use machine::{Products, TileMachine};
use scaling::add_scaled;

/// The sums of a tile of input rows: `[halves of the columns, input rows, columns]`.
type Sums = [[[f32; LANES]; ROWS]; HALVES];

/// `x [m, cols]` times the weights transposed, plus `bias`: `[m, weight rows]`.
///
/// # Panics
/// On a machine without AMX.
pub(super) fn product(
    format: &Signed,
    x: &[f32],
    weights: &Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    product_on::<Amx>(format, x, weights, bias)
}

fn product_on<M: TileMachine>(
    format: &Signed,
    x: &[f32],
    weights: &Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (m, rows, groups) = (x.len() / weights.cols(), weights.rows(), weights.groups());
    let inputs = pack_inputs(x, weights.cols());
    let mut out = vec![0.0; m * rows];
    let stripe_rows = (STRIPE / weights.cols()).next_multiple_of(COLUMNS);
    let task_rows = share_of_rows(m).next_multiple_of(ROWS);
    let mut stripe = Vec::new();
    for first in (0..rows).step_by(stripe_rows) {
        let columns = first..rows.min(first + stripe_rows);
        weights.unpack(format, columns.clone(), &mut stripe);
        let tasks = out.par_chunks_mut(task_rows * rows).enumerate();
        tasks.for_each(|(task, out)| {
            let tiles = task * task_rows / ROWS;
            let tiles = tiles..tiles + (out.len() / rows).div_ceil(ROWS);
            let machine = M::take();
            for (panel, column) in stripe
                .chunks_exact(groups)
                .zip(columns.clone().step_by(COLUMNS))
            {
                let sums = vectorize(PanelProducts {
                    machine: &machine,
                    inputs: &inputs[tiles.start * groups..tiles.end * groups],
                    panel,
                    has_offsets: format.has_offsets,
                });
                write_panel(
                    &sums,
                    column..columns.end.min(column + COLUMNS),
                    rows,
                    bias,
                    out,
                );
            }
        });
    }
    out
}

/// Packs inputs: `[tiles, groups]`.
fn pack_inputs(x: &[f32], cols: usize) -> Vec<InputGroup> {
    let groups = cols / GROUP;
    let tiles = (x.len() / cols).div_ceil(ROWS);
    let mut inputs = vec![InputGroup::NONE; tiles * groups];
    let tiles = x
        .par_chunks(ROWS * cols)
        .zip(inputs.par_chunks_exact_mut(groups));
    tiles.for_each(|(x, out)| vectorize(Pack { x, cols, out }));
    inputs
}

/// Some tiles of input rows times one panel of weight rows.
struct PanelProducts<'a, M> {
    machine: &'a M,
    /// `[tiles, groups]`
    inputs: &'a [InputGroup],
    /// `[groups]`
    panel: &'a [WeightGroup],
    has_offsets: bool,
}

impl<M: TileMachine> Kernel for PanelProducts<'_, M> {
    type Output = Vec<Sums>;

    #[inline(always)]
    fn call(self) -> Vec<Sums> {
        let groups = self.panel.len();
        let mut sums = vec![[[[0.0; LANES]; ROWS]; HALVES]; self.inputs.len() / groups];
        let mut products = Products::NONE;
        for (chunk, weights) in self.panel.chunks(CHUNK).enumerate() {
            for (inputs, sums) in self.inputs.chunks_exact(groups).zip(&mut sums) {
                let inputs = &inputs[chunk * CHUNK..][..weights.len()];
                for (half, sums) in sums.iter_mut().enumerate() {
                    for (inputs, weights) in inputs.chunks(SPAN).zip(weights.chunks(SPAN)) {
                        self.machine.multiply(inputs, weights, half, &mut products);
                        add_scaled(&products, inputs, weights, half, self.has_offsets, sums);
                    }
                }
            }
        }
        sums
    }
}

/// Writes the sums of a panel to its columns of `out [some rows, rows]`.
fn write_panel(
    sums: &[Sums],
    columns: Range<usize>,
    rows: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    for (out, sums) in out.chunks_mut(ROWS * rows).zip(sums) {
        for (row, out) in out.chunks_exact_mut(rows).enumerate() {
            let mut line = [0.0; COLUMNS];
            for (line, half) in line.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
                *line = half[row];
            }
            write(
                &mut out[columns.clone()],
                &line,
                bias.map(|bias| &bias[columns.start..]),
            );
        }
    }
}
