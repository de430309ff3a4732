//! Block-quantized weights on the CPU, read in place: in a mapped file, or in the binary.
//!
//! A product of few input rows (a decoding LLM) is bound by reading the weight. Each weight row is
//! dequantized once into the first-level cache and multiplied there, in f32. A product of many input rows is
//! bound by arithmetic and runs in [`x2i_cpu::integer`], or for floats in [`crate::linear::stripes`]. The f32
//! weight never exists as a whole.

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::BlockOps;
use super::expand::expand_row;
use crate::cpu::tensor;
use crate::empty::has_no_terms;
use crate::linear::stripes;
use x2i_cpu::formats::BlockType;
use x2i_cpu::integer::{self, InputBits, Weights};
use x2i_cpu::vectorize::{Kernel, dot, vectorize};

/// Up to this many input rows dot products are faster: measured on 2 cores with AVX2.
const FEW_ROWS: usize = if cfg!(target_family = "wasm") { 2 } else { 8 };

/// Weights of a task. A smaller task would take less time than handing it to another thread.
const TASK_WEIGHTS: usize = 64 * 1024;

impl BlockOps for Flex {
    fn dequantize_blocks(
        packed: FlexTensor,
        scales: FlexTensor,
        block_type: BlockType,
    ) -> FlexTensor {
        dequantize(packed, scales, block_type)
    }

    fn matmul_blocks(
        x: FlexTensor,
        packed: FlexTensor,
        scales: FlexTensor,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FlexTensor {
        matmul_blocks(x, packed, scales, None, block_type, input_bits)
    }

    fn matmul_blocks_bias(
        x: FlexTensor,
        packed: FlexTensor,
        scales: FlexTensor,
        bias: FlexTensor,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FlexTensor {
        matmul_blocks(x, packed, scales, Some(bias), block_type, input_bits)
    }
}

fn weights(packed: &FlexTensor, block_type: BlockType) -> Weights<'_> {
    let row_bytes = packed.layout().shape()[1];
    Weights {
        bytes: packed.storage(),
        block_type,
        cols: row_bytes / block_type.bytes() * block_type.len(),
    }
}

/// The scale of each row; empty where they have none.
fn row_scales(scales: &FlexTensor) -> &[f32] {
    match scales.layout().num_elements() {
        0 => &[],
        _ => scales.storage(),
    }
}

/// Weight rows of a task.
fn task_rows(weights: &Weights) -> usize {
    TASK_WEIGHTS.div_ceil(weights.cols())
}

/// Dequantizes one row, without its scale.
#[inline(always)]
fn expand(weights: &Weights, row: usize, out: &mut [f32]) {
    expand_row(weights.row(row), weights.block_type, out);
}

/// Dequantizes the rows from `first` on into `out [rows, cols]`.
struct Expand<'a> {
    weights: Weights<'a>,
    /// Of all rows, or none.
    scales: &'a [f32],
    first: usize,
    out: &'a mut [f32],
}

impl Kernel for Expand<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let rows = self.out.chunks_exact_mut(self.weights.cols()).enumerate();
        for (row, out) in rows {
            expand(&self.weights, self.first + row, out);
            if let Some(scale) = self.scales.get(self.first + row) {
                out.iter_mut().for_each(|out| *out *= scale);
            }
        }
    }
}

/// The products of `x` with the weight rows from `first` on, into `out [weight rows, m]`.
struct DotProducts<'a> {
    x: &'a [f32],
    weights: Weights<'a>,
    first: usize,
    /// Space for one weight row.
    scratch: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for DotProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let cols = self.scratch.len();
        let m = self.x.len() / cols;
        for (row, out) in self.out.chunks_exact_mut(m).enumerate() {
            expand(&self.weights, self.first + row, self.scratch);
            for (out, x) in out.iter_mut().zip(self.x.chunks_exact(cols)) {
                *out = dot(x, self.scratch);
            }
        }
    }
}

fn dequantize(packed: FlexTensor, scales: FlexTensor, block_type: BlockType) -> FlexTensor {
    let (packed, scales) = (packed.to_contiguous(), scales.to_contiguous());
    let scales = row_scales(&scales);
    let weights = weights(&packed, block_type);
    let (rows, cols) = (packed.layout().shape()[0], weights.cols());
    let mut out = vec![0.0; rows * cols];
    if !out.is_empty() {
        let task_rows = task_rows(&weights);
        let tasks = out.par_chunks_mut(task_rows * cols).enumerate();
        tasks.for_each(|(task, out)| {
            let first = task * task_rows;
            vectorize(Expand {
                weights,
                scales,
                first,
                out,
            });
        });
    }
    tensor(out, [rows, cols])
}

fn matmul_blocks(
    x: FlexTensor,
    packed: FlexTensor,
    scales: FlexTensor,
    bias: Option<FlexTensor>,
    block_type: BlockType,
    input_bits: InputBits,
) -> FlexTensor {
    let (x, packed, scales) = (
        x.to_contiguous(),
        packed.to_contiguous(),
        scales.to_contiguous(),
    );
    let scales = row_scales(&scales);
    let bias = bias.map(|bias| bias.to_contiguous());
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let weights = weights(&packed, block_type);
    let (m, rows) = (x.layout().shape()[0], packed.layout().shape()[0]);
    let out = if has_no_terms([m, rows, weights.cols()]) {
        bias.map_or_else(|| vec![0.0; m * rows], |bias| bias.repeat(m))
    } else if m <= FEW_ROWS {
        dot_products(x.storage(), &weights, scales, bias)
    } else if block_type.is_float() {
        float_product(&x, weights, scales, bias)
    } else {
        integer::product(x.storage(), &weights, bias, input_bits)
    };
    tensor(out, [m, rows])
}

/// `x [m, cols]` times weights that are floats transposed, plus `bias`: `[m, weight rows]`.
fn float_product(
    x: &FlexTensor,
    weights: Weights<'_>,
    scales: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (m, rows) = (x.layout().shape()[0], weights.rows());
    let mut out = match bias {
        Some(bias) => bias.repeat(m),
        None => vec![0.0; m * rows],
    };
    let widen = |first, out: &mut [f32]| {
        vectorize(Expand {
            weights,
            scales,
            first,
            out,
        });
    };
    stripes::add_products(x, rows, widen, &mut out);
    out
}

/// `gradient [m, rows]` times the weight: `[m, cols]`.
#[cfg(not(target_family = "wasm"))]
pub(super) fn backward(
    packed: FlexTensor,
    scales: FlexTensor,
    gradient: FlexTensor,
    block_type: BlockType,
    input_bits: InputBits,
) -> FlexTensor {
    let (packed, scales) = (packed.to_contiguous(), scales.to_contiguous());
    let (weights, scales) = (weights(&packed, block_type), row_scales(&scales));
    let shape = [gradient.layout().shape()[0], weights.cols()];
    let mut out = vec![0.0; shape[0] * shape[1]];
    let widen = |first, out: &mut [f32]| {
        vectorize(Expand {
            weights,
            scales,
            first,
            out,
        });
    };
    if !out.is_empty() {
        stripes::add_transposed(&gradient, shape[1], widen, input_bits, &mut out);
    }
    tensor(out, shape)
}

fn dot_products(x: &[f32], weights: &Weights, scales: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let (cols, rows) = (weights.cols(), weights.rows());
    let m = x.len() / cols;
    let task_rows = task_rows(weights);
    let mut transposed = vec![0.0; rows * m]; // [rows, m]
    let tasks = transposed.par_chunks_mut(task_rows * m).enumerate();
    tasks.for_each(|(task, out)| {
        vectorize(DotProducts {
            x,
            weights: *weights,
            first: task * task_rows,
            scratch: &mut vec![0.0; cols],
            out,
        });
    });
    for (out, scale) in transposed.chunks_exact_mut(m).zip(scales) {
        out.iter_mut().for_each(|out| *out *= scale);
    }
    if let Some(bias) = bias {
        for (out, bias) in transposed.chunks_exact_mut(m).zip(bias) {
            out.iter_mut().for_each(|out| *out += bias);
        }
    }
    if m == 1 {
        return transposed;
    }
    let column = |i: usize| transposed[i..].iter().step_by(m).copied();
    (0..m).flat_map(column).collect() // [m, rows]
}
