//! A matrix product in whole numbers: inputs of 16 bits times block-quantized weights, on the CPU.
//!
//! A group of 32 weights is `scale * quant + offset` with whole quants, so its part of a sum is a dot
//! product in i32, exact, and one multiplication by its scale. Inputs are rounded to 15 bits and a
//! sign per row and [`CHUNK`]: an error of 1e-5 of the largest input, a hundredth of what rounding
//! them to bytes costs (as ggml and PyTorch do), at nearly the speed: without VNNI a byte product is
//! two multiplications as well, and its sums of pairs can saturate.
//!
//! After Goto and van de Geijn (2008), like [`crate::gemm`]: both sides are packed in the order in
//! which [`tile::add_products`] reads them. Weights are unpacked a [`STRIPE`] at a time, once for all
//! inputs; nobody holds more of them.

mod inputs;
mod tile;
mod weights;

use std::ops::Range;

use rayon::prelude::*;

use crate::qmatmul::GROUP;
pub(crate) use inputs::Inputs;
use tile::{COLUMNS, ROWS, WeightGroup};
pub(crate) use weights::Weights;

/// Groups along the inner dimension that share an input scale: 512 numbers. So much of a weight panel
/// stays in the first-level cache.
const CHUNK: usize = 512 / GROUP;

/// Weights unpacked at a time: 4 MB.
const STRIPE: usize = 1 << 20;

/// Input rows of a task at most: each task reads all panels of a stripe.
const MAX_TASK_ROWS: usize = 128;

/// `inputs · weightsᵀ + bias`: `[input rows, weight rows]`.
pub(crate) fn product(inputs: &Inputs, weights: &Weights, bias: Option<&[f32]>) -> Vec<f32> {
    let (m, rows) = (inputs.rows(), weights.rows());
    let mut out = vec![0.0; m * rows];
    let stripe_rows = (STRIPE / weights.cols()).next_multiple_of(COLUMNS);
    let share = m.div_ceil(rayon::current_num_threads());
    let task_rows = share.min(MAX_TASK_ROWS).next_multiple_of(ROWS);
    let mut stripe = Vec::new();
    for first in (0..rows).step_by(stripe_rows) {
        let columns = first..rows.min(first + stripe_rows);
        weights.unpack(columns.clone(), &mut stripe);
        let tasks = out.par_chunks_mut(task_rows * rows).enumerate();
        tasks.for_each(|(task, out)| {
            let first_row = task * task_rows;
            let input_rows = first_row..first_row + out.len() / rows;
            let panels = stripe.chunks_exact(weights.groups());
            for (panel, column) in panels.zip(columns.clone().step_by(COLUMNS)) {
                let sums = panel_products(inputs, input_rows.clone(), panel);
                let width = COLUMNS.min(columns.end - column);
                let bias = bias.map(|bias| &bias[column..]);
                for (out, sums) in out.chunks_exact_mut(rows).zip(sums.as_flattened()) {
                    write(&mut out[column..][..width], sums, bias);
                }
            }
        });
    }
    out
}

/// Input rows times one panel of weight rows.
fn panel_products(
    inputs: &Inputs,
    rows: Range<usize>,
    panel: &[WeightGroup],
) -> Vec<[[f32; COLUMNS]; ROWS]> {
    let tiles = rows.start / ROWS..rows.end.div_ceil(ROWS);
    let mut sums = vec![[[0.0; COLUMNS]; ROWS]; tiles.len()];
    for (chunk, weights) in panel.chunks(CHUNK).enumerate() {
        for (tile, sums) in tiles.clone().zip(&mut sums) {
            let (inputs, scales) = inputs.tile(tile, chunk);
            tile::add_products(inputs, weights, scales, sums);
        }
    }
    sums
}

fn write(out: &mut [f32], sums: &[f32; COLUMNS], bias: Option<&[f32]>) {
    out.copy_from_slice(&sums[..out.len()]);
    for (out, bias) in out.iter_mut().zip(bias.unwrap_or_default()) {
        *out += bias;
    }
}
