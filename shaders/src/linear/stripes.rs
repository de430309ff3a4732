//! A product of many input rows on the CPU with a weight that is widened to f32 when it is used, a [`STRIPE`]
//! of its rows at a time. The backward pass rounds both sides to bf16 where it may and the processor multiplies those, as
//! trainers with mixed precision do.

use burn::backend::ops::FloatTensorOps;
#[cfg(not(target_family = "wasm"))]
use burn::tensor::Slice;
use burn_flex::{Flex, FlexTensor};
#[cfg(not(target_family = "wasm"))]
use half::bf16;
use rayon::prelude::*;

use crate::cpu::tensor;
use crate::gemm;
#[cfg(not(target_family = "wasm"))]
use x2i_cpu::{
    integer::InputBits,
    lanes::{self, Pairs},
};

/// Weights that are widened at a time: 16 MB of f32. The GEMM packs the inputs again for each stripe.
const STRIPE: usize = 1 << 22;

/// Rows and columns of a part that is turned at once: its lines stay in the first-level cache.
#[cfg(not(target_family = "wasm"))]
const EDGE: usize = 64;

/// Up to this many rows of gradients the product is in f32. Turning a weight costs as much for few rows as for many; where
/// it begins to pay was not measured.
#[cfg(not(target_family = "wasm"))]
const FEW_ROWS: usize = 64;

/// Weights of a task.
pub(crate) const TASK_WEIGHTS: usize = 64 * 1024;

/// The weight a stripe at a time: its first row, its rows, and their numbers, `[stripe rows, cols]`.
fn stripes(
    [rows, cols]: [usize; 2],
    widen: impl Fn(usize, &mut [f32]) + Sync,
) -> impl Iterator<Item = (usize, usize, FlexTensor)> {
    let stripe_rows = (STRIPE / cols).max(1);
    let task_rows = TASK_WEIGHTS.div_ceil(cols);
    (0..rows).step_by(stripe_rows).map(move |first| {
        let width = stripe_rows.min(rows - first);
        let mut stripe = vec![0.0; width * cols];
        let tasks = stripe.par_chunks_mut(task_rows * cols).enumerate();
        tasks.for_each(|(task, out)| widen(first + task * task_rows, out));
        (first, width, tensor(stripe, [width, cols]))
    })
}

/// Adds the products of `x [m, cols]` with a weight of `rows` to `out [m, rows]`. `widen` writes whole rows of
/// the weight from a given one on.
pub(crate) fn add_products(
    x: &FlexTensor,
    rows: usize,
    widen: impl Fn(usize, &mut [f32]) + Sync,
    out: &mut [f32],
) {
    let cols = x.layout().shape()[1];
    for (first, width, stripe) in stripes([rows, cols], widen) {
        let products = gemm::matmul(x.clone(), Flex::float_transpose(stripe));
        let products = products.storage::<f32>().chunks_exact(width);
        for (out, products) in out.chunks_exact_mut(rows).zip(products) {
            for (out, product) in out[first..][..width].iter_mut().zip(products) {
                *out += product;
            }
        }
    }
}

/// Adds `x [m, rows]` times a weight of `cols` columns to `out [m, cols]`, as the backward pass of a product wants it.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn add_transposed(
    x: &FlexTensor,
    cols: usize,
    widen: impl Fn(usize, &mut [f32]) + Sync,
    input_bits: InputBits,
    out: &mut [f32],
) {
    let rows = x.layout().shape()[1];
    for (first, width, stripe) in stripes([rows, cols], widen) {
        let columns = Slice::new(first as isize, Some((first + width) as isize), 1);
        let columns = Flex::float_slice(x.clone(), &[Slice::new(0, None, 1), columns]);
        let rounded = match input_bits {
            InputBits::AsWeights => rounded(&columns, &stripe),
            InputBits::Sixteen => None,
        };
        let products = rounded.unwrap_or_else(|| gemm::matmul(columns, stripe));
        let products = products.storage::<f32>();
        out.iter_mut().zip(products).for_each(|(out, x)| *out += x);
    }
}

/// `x [m, rows]` times `stripe [rows, cols]` with both in bf16, `[m, cols]`; `None` of few rows, for which turning the
/// weight takes longer than the product, and where the processor has no unit for it.
#[cfg(not(target_family = "wasm"))]
fn rounded(x: &FlexTensor, stripe: &FlexTensor) -> Option<FlexTensor> {
    let [rows, cols] = [0, 1].map(|axis| stripe.layout().shape()[axis]);
    let m = x.layout().shape()[0];
    if m <= FEW_ROWS || !lanes::halves::multiplies() {
        return None;
    }
    let weight = turned(stripe.storage(), [rows, cols]);
    let weight = Pairs {
        weight: &weight,
        cols: rows,
    };
    let out = lanes::halves::product(x.to_contiguous().storage(), &weight, [cols, rows], None);
    out.map(|out| tensor(out, [m, cols]))
}

/// `matrix [rows, cols]` in bf16, `[cols, rows]`.
#[cfg(not(target_family = "wasm"))]
fn turned(matrix: &[f32], [rows, cols]: [usize; 2]) -> Vec<bf16> {
    let mut turned = vec![bf16::ZERO; rows * cols];
    let task = EDGE * rows;
    turned
        .par_chunks_mut(task)
        .enumerate()
        .for_each(|(task, out)| {
            let first = task * EDGE;
            for row in (0..rows).step_by(EDGE) {
                for (column, out) in out.chunks_exact_mut(rows).enumerate() {
                    let out = &mut out[row..rows.min(row + EDGE)];
                    for (index, out) in out.iter_mut().enumerate() {
                        *out = bf16::from_f32(matrix[(row + index) * cols + first + column]);
                    }
                }
            }
        });
    turned
}
