//! A product of many input rows on the CPU with a weight that is widened to f32 when it is used, a [`STRIPE`]
//! of its rows at a time.

use burn::backend::ops::FloatTensorOps;
#[cfg(not(target_family = "wasm"))]
use burn::tensor::Slice;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use crate::cpu::tensor;
use crate::gemm;

/// Weights that are widened at a time: 16 MB of f32. The GEMM packs the inputs again for each stripe.
const STRIPE: usize = 1 << 22;

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
    out: &mut [f32],
) {
    let rows = x.layout().shape()[1];
    for (first, width, stripe) in stripes([rows, cols], widen) {
        let columns = Slice::new(first as isize, Some((first + width) as isize), 1);
        let columns = Flex::float_slice(x.clone(), &[Slice::new(0, None, 1), columns]);
        let products = gemm::matmul(columns, stripe);
        let products = products.storage::<f32>();
        out.iter_mut().zip(products).for_each(|(out, x)| *out += x);
    }
}
