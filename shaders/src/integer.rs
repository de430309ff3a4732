//! A matrix product in whole numbers: rounded inputs times block-quantized weights, on the CPU.
//!
//! A group of 32 weights is `scale * quant + offset` with whole quants, so its part of a sum is a dot
//! product of whole numbers, exact, and one multiplication by its scale. What is lost is lost by
//! rounding the inputs: to 16 bits ([`Words`]: 1e-5 of the largest input), or to 7 or 8 ([`Bytes`]:
//! half a percent to a percent, where the weights themselves lose as much, or a tenth).
//!
//! After Goto and van de Geijn (2008), like [`crate::gemm`]: both sides are packed in the order in
//! which [`Rounding::add_products`] reads them. Weights are unpacked a [`STRIPE`] at a time, once for
//! all inputs; nobody holds more of them.

mod bytes;
mod inputs;
mod interleave;
mod vnni;
mod weights;
mod words;

use std::ops::Range;

use rayon::prelude::*;

use crate::qmatmul::{BlockType, GROUP, Group, Quant};
use bytes::Bytes;
use inputs::Inputs;
pub(crate) use weights::Weights;
use words::Words;

/// Groups along the inner dimension that are multiplied at a time: 512 numbers. So much of a weight
/// panel stays in the first-level cache.
const CHUNK: usize = 512 / GROUP;

/// Weights unpacked at a time: 2 MB in words.
const STRIPE: usize = 1 << 20;

/// Input rows of a task at most: each task reads all panels of a stripe.
const MAX_TASK_ROWS: usize = 128;

/// Input rows of a tile: with [`COLUMNS`] in vectors their sums fill half of the registers.
const ROWS: usize = 4;

/// Weight rows of a tile, and of a panel.
const COLUMNS: usize = if cfg!(target_family = "wasm") { 8 } else { 16 };

/// What a tile adds up: `[input rows, weight rows]`.
type Sums = [[f32; COLUMNS]; ROWS];

/// How inputs are rounded, and what follows: how both sides are packed and multiplied.
trait Rounding: Sync {
    /// 32 numbers of each input row.
    type InputGroup: Copy + Send + Sync;
    /// How blocks are unpacked.
    type Quant: Quant;
    /// 32 weights of each weight row.
    type WeightGroup: Copy + Send + Sync;
    /// Where inputs are packed to.
    const NO_INPUTS: Self::InputGroup;
    /// Where weights are packed to.
    const NO_WEIGHTS: Self::WeightGroup;

    /// Packs a chunk of all rows; returns what a number 1 of each row stands for.
    fn pack_inputs(&self, rows: [&[f32]; ROWS], out: &mut [Self::InputGroup]) -> [f32; ROWS];

    /// Packs the weight rows from `first` on.
    fn pack_weights(
        &self,
        rows: [&Group<Self::Quant>; ROWS],
        first: usize,
        out: &mut Self::WeightGroup,
    );

    /// Adds the products of a chunk, each row's times its scale.
    fn add_products(
        &self,
        inputs: &[Self::InputGroup],
        weights: &[Self::WeightGroup],
        input_scales: &[f32; ROWS],
        sums: &mut Sums,
    );
}

/// Weights along a row from which on 8-bit weights take inputs of 7 bits.
const WIDE: usize = 1024;

/// To how many bits the CPU rounds the inputs of a product of many rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputBits {
    /// 8 where weights have 4 or 5, and where they have 8 and rows are of 1024 and more, which is what large
    /// models have (then 7 without VNNI); a small model is fast with 16 too, and paints the same on all
    /// devices.
    #[default]
    AsWeights,
    /// 16: 1e-5 of the largest input is lost.
    Sixteen,
}

/// `x [m, cols]` times the weights transposed, plus `bias`: `[m, weight rows]`.
pub(crate) fn product(
    x: &[f32],
    weights: &Weights,
    bias: Option<&[f32]>,
    input_bits: InputBits,
) -> Vec<f32> {
    let exact = match input_bits {
        InputBits::AsWeights => weights.block_type == BlockType::Q8_0 && weights.cols() < WIDE,
        InputBits::Sixteen => true,
    };
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
    let share = m.div_ceil(rayon::current_num_threads());
    let task_rows = share.min(MAX_TASK_ROWS).next_multiple_of(ROWS);
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

fn write(out: &mut [f32], sums: &[f32; COLUMNS], bias: Option<&[f32]>) {
    out.copy_from_slice(&sums[..out.len()]);
    for (out, bias) in out.iter_mut().zip(bias.unwrap_or_default()) {
        *out += bias;
    }
}

/// A vector unit's name, and what adds its products; false where the machine has no such unit.
#[cfg(test)]
type Unit<'a> = (&'static str, &'a dyn Fn(&mut Sums) -> bool);

/// What the units that this machine has add to ones.
#[cfg(test)]
fn sums_of(units: &[Unit<'_>]) -> Vec<(&'static str, Sums)> {
    let sums = units.iter().filter_map(|(name, add)| {
        let mut sums = [[1.0; COLUMNS]; ROWS];
        add(&mut sums).then_some((*name, sums))
    });
    sums.collect()
}
