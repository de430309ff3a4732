//! A matrix product in whole numbers on the CPU: rounded inputs times block-quantized weights.
//!
//! The weights of a group of 32 are `scale * quant + offset` with whole quants. The group's part of a sum is
//! then a dot product of whole numbers, which is exact, times its scale. Only the rounding of the inputs
//! loses precision: 1e-5 of the largest input with 16 bits (`Words`), half a percent to a percent with 7 or
//! 8 (`Bytes`), where the weights lose as much themselves, or a tenth of it.
//!
//! After Goto and van de Geijn (2008), like `gemm` in x2i-shaders: both sides are packed in the order in which
//! `Rounding::add_products` reads them. Weights are unpacked a stripe at a time, once for all inputs;
//! the other weights stay in their blocks.

mod blocks;
mod bytes;
mod inputs;
mod interleave;
#[cfg(test)]
mod oracle;
mod rounding;
mod tasks;
#[cfg(target_arch = "x86_64")]
mod tiles;
mod weights;
mod words;

use std::ops::Range;

use rayon::prelude::*;

use crate::formats::BlockType;
pub use blocks::Weights;
use bytes::Bytes;
use inputs::Inputs;
use rounding::{CHUNK, COLUMNS, ROWS, Rounding, Sums};
use tasks::{STRIPE, share_of_rows, write};
use words::Words;

/// Weights along a row from which on weights of 8 bits take inputs of 8 bits, and weights in bf16 inputs in bf16.
pub const WIDE: usize = 1024;

/// To how many bits the CPU rounds the inputs of a product of many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputBits {
    /// 8 bits beside weights of 4 or 5 bits, and beside weights of 8 bits in rows of 1024 and more, as large
    /// models have them (there 7 bits on AVX2). Else 16 bits: a small model is fast with them
    /// too, and then paints the same picture on all devices.
    ///
    /// Dense weights in bf16 in such rows take inputs in bf16, where the processor multiplies them.
    #[default]
    AsWeights,
    /// 16 bits: the error is 1e-5 of the largest input. Dense weights take inputs in f32.
    Sixteen,
}

/// `x [m, cols]` times the weights transposed, plus `bias`: `[m, weight rows]`.
pub fn product(
    x: &[f32],
    weights: &Weights,
    bias: Option<&[f32]>,
    input_bits: InputBits,
) -> Vec<f32> {
    let of_eight_bits = matches!(
        weights.block_type,
        BlockType::Q8_0 | BlockType::Int8 | BlockType::Int8Zero
    );
    let exact = match input_bits {
        InputBits::AsWeights => of_eight_bits && weights.cols() < WIDE,
        InputBits::Sixteen => true,
    };
    #[cfg(target_arch = "x86_64")]
    if let Some(format) = tiles::Signed::new(weights.block_type)
        .filter(|_| !exact && crate::processor::uses(crate::processor::CpuUnit::Amx))
    {
        return tiles::product(&format, x, weights, bias);
    }
    match Bytes::new(weights.block_type).filter(|_| !exact) {
        Some(bytes) => rounded_product(&bytes, x, weights, bias),
        None => rounded_product(&Words::new(weights.block_type), x, weights, bias),
    }
}

fn rounded_product<R: Rounding>(
    rounding: &R,
    x: &[f32],
    weights: &Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (m, rows) = (x.len() / weights.cols(), weights.rows());
    let inputs = Inputs::new(rounding, x, weights.cols());
    let mut out = vec![0.0; m * rows];
    let stripe_rows = (STRIPE / weights.cols()).next_multiple_of(COLUMNS);
    let task_rows = share_of_rows(m).next_multiple_of(ROWS);
    let mut stripe = Vec::new();
    for first in (0..rows).step_by(stripe_rows) {
        let columns = first..rows.min(first + stripe_rows);
        weights.unpack(rounding, columns.clone(), &mut stripe);
        let tasks = out.par_chunks_mut(task_rows * rows).enumerate();
        tasks.for_each(|(task, out)| {
            let first_row = task * task_rows;
            let input_rows = first_row..first_row + out.len() / rows;
            let panels = stripe.chunks_exact(weights.groups());
            for (panel, column) in panels.zip(columns.clone().step_by(COLUMNS)) {
                let sums = panel_products(rounding, &inputs, input_rows.clone(), panel);
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
fn panel_products<R: Rounding>(
    rounding: &R,
    inputs: &Inputs<R>,
    rows: Range<usize>,
    panel: &[R::WeightGroup],
) -> Vec<Sums> {
    let tiles = rows.start / ROWS..rows.end.div_ceil(ROWS);
    let mut sums = vec![[[0.0; COLUMNS]; ROWS]; tiles.len()];
    for (chunk, weights) in panel.chunks(CHUNK).enumerate() {
        for (tile, sums) in tiles.clone().zip(&mut sums) {
            let (inputs, scales) = inputs.tile(tile, chunk);
            rounding.add_products(inputs, weights, scales, sums);
        }
    }
    sums
}
