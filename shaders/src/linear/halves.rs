//! A dense layer on the CPU whose weight has 16 bits: bf16 or f16, as checkpoints store it.
//!
//! Weights are converted to f32 when they are used, in [`stripes`]. A model takes half of the memory, and
//! none where the weight lies in a mapped file. The conversion takes 7 % of the time of a stack of products
//! with 512 rows; few rows, which are bound by memory, become faster. Left out: arithmetic in 16 bits.

use burn::tensor::{DType, Element};
use burn_flex::FlexTensor;
use bytemuck::Pod;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::stripes::{self, TASK_WEIGHTS};
use crate::cpu::tensor;
use crate::vectorize::{Kernel, dot, vectorize};

/// Up to this many input rows dot products are faster than the GEMM, as with quantized weights.
const FEW_ROWS: usize = 8;

/// A float of 16 bits.
pub(crate) trait Half: Element + Pod + Sync {
    /// Converts numbers to f32.
    fn widen(halves: &[Self], out: &mut [f32]);
}

impl Half for bf16 {
    fn widen(halves: &[Self], out: &mut [f32]) {
        vectorize(WidenBf16 { halves, out });
    }
}

impl Half for f16 {
    fn widen(halves: &[Self], out: &mut [f32]) {
        halves.convert_to_f32_slice(out);
    }
}

struct WidenBf16<'a> {
    halves: &'a [bf16],
    out: &'a mut [f32],
}

impl Kernel for WidenBf16<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (out, half) in self.out.iter_mut().zip(self.halves) {
            *out = f32::from_bits(u32::from(half.to_bits()) << 16);
        }
    }
}

/// True for a weight that [`linear`] takes.
pub(crate) fn is_half(weight: &FlexTensor) -> bool {
    matches!(weight.dtype(), DType::F16 | DType::BF16)
}

/// `x [m, cols]` f32 times `weight [rows, cols]` of 16 bits transposed, plus `bias [rows]` f32.
pub(crate) fn linear(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    match weight.dtype() {
        DType::BF16 => product::<bf16>(x, weight, bias),
        _ => product::<f16>(x, weight, bias),
    }
}

fn product<H: Half>(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let bias = bias.map(|bias| bias.to_contiguous());
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let (m, cols) = (x.layout().shape()[0], x.layout().shape()[1]);
    let rows = weight.layout().shape()[0];
    let mut out = match bias {
        Some(bias) => bias.repeat(m),
        None => vec![0.0; m * rows],
    };
    if m * rows * cols > 0 {
        match m <= FEW_ROWS {
            true => add_few_rows::<H>(x.storage(), weight.storage(), cols, &mut out),
            false => {
                let weight = weight.storage::<H>();
                let widen = |first: usize, out: &mut [f32]| {
                    H::widen(&weight[first * cols..][..out.len()], out);
                };
                stripes::add_products(&x, rows, widen, &mut out);
            }
        }
    }
    tensor(out, [m, rows])
}

/// Adds the products of few input rows to `out [m, rows]`.
fn add_few_rows<H: Half>(x: &[f32], weight: &[H], cols: usize, out: &mut [f32]) {
    let task_rows = TASK_WEIGHTS.div_ceil(cols);
    let tasks = weight.par_chunks(task_rows * cols).map(|weight| {
        let mut row = vec![0.0; cols];
        let rows = weight.chunks_exact(cols).flat_map(|halves| {
            H::widen(halves, &mut row);
            let products = x
                .chunks_exact(cols)
                .map(|x| vectorize(Dot { x, weight: &row }));
            products.collect::<Vec<_>>()
        });
        rows.collect::<Vec<f32>>()
    });
    let products: Vec<f32> = tasks.flatten_iter().collect(); // [rows, m]
    let (m, rows) = (x.len() / cols, weight.len() / cols);
    for (row, products) in products.chunks_exact(m).enumerate() {
        for (i, product) in products.iter().enumerate() {
            out[i * rows + row] += product;
        }
    }
}

struct Dot<'a> {
    x: &'a [f32],
    weight: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        dot(self.x, self.weight)
    }
}
