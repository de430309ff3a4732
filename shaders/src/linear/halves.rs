//! A dense layer on the CPU whose weight has 16 bits: bf16 or f16, as checkpoints store it.
//!
//! A model takes half of the memory of one in f32, and none where the weight lies in a mapped file. A processor that
//! multiplies bf16 reads wide weights where they lie, beside inputs that are rounded to bf16. Other weights become f32
//! when they are used, a block at a time, or a stripe on processors without AVX2.

use burn::tensor::{DType, Element};
use burn_flex::FlexTensor;
use half::{bf16, f16};
use rayon::prelude::*;

use super::stripes::{self, TASK_WEIGHTS};
use crate::cpu::tensor;
use crate::empty::has_no_terms;
use x2i_cpu::integer::{InputBits, WIDE};
use x2i_cpu::lanes::{self, Pairs, Widened, float};
use x2i_cpu::vectorize::{Kernel, dot, vectorize};
use x2i_cpu::widen::Half;

/// Up to this many input rows dot products are faster than the GEMM, as with quantized weights.
const FEW_ROWS: usize = 8;

/// True for a weight that [`linear`] takes.
pub(crate) fn is_half(weight: &FlexTensor) -> bool {
    matches!(weight.dtype(), DType::F16 | DType::BF16)
}

/// `x [m, cols]` f32 times `weight [rows, cols]` of 16 bits transposed, plus `bias [rows]` f32.
pub(crate) fn linear(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    input_bits: InputBits,
) -> FlexTensor {
    match weight.dtype() {
        DType::BF16 => product::<bf16>(x, weight, bias, input_bits),
        _ => product::<f16>(x, weight, bias, input_bits),
    }
}

fn product<H: Half + Element>(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    input_bits: InputBits,
) -> FlexTensor {
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let bias = bias.map(|bias| bias.to_contiguous());
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let (m, cols) = (x.layout().shape()[0], x.layout().shape()[1]);
    let rows = weight.layout().shape()[0];
    if m > FEW_ROWS && rows * cols > 0 {
        let out = many_rows::<H>(&x, weight.storage(), bias, input_bits);
        return tensor(out, [m, rows]);
    }
    let mut out = match bias {
        Some(bias) => bias.repeat(m),
        None => vec![0.0; m * rows],
    };
    if !has_no_terms([m, rows, cols]) {
        add_few_rows::<H>(x.storage(), weight.storage(), cols, &mut out);
    }
    tensor(out, [m, rows])
}

/// The product `[m, rows]` of many input rows.
fn many_rows<H: Half>(
    x: &FlexTensor,
    weight: &[H],
    bias: Option<&[f32]>,
    input_bits: InputBits,
) -> Vec<f32> {
    let (m, cols) = (x.layout().shape()[0], x.layout().shape()[1]);
    let rows = weight.len() / cols;
    let rounds = input_bits == InputBits::AsWeights && cols >= WIDE;
    if let Some(weight) = H::bf16(weight).filter(|_| rounds) {
        let weight = Pairs { weight, cols };
        if let Some(out) = lanes::halves::product(x.storage(), &weight, [rows, cols], bias) {
            return out;
        }
    }
    let widened = Widened { weight, cols };
    float::product(x.storage(), &widened, [rows, cols], bias).unwrap_or_else(|| {
        let mut out = match bias {
            Some(bias) => bias.repeat(m),
            None => vec![0.0; m * rows],
        };
        let widen = |first: usize, out: &mut [f32]| {
            H::widen(&weight[first * cols..][..out.len()], out);
        };
        stripes::add_products(x, rows, widen, &mut out);
        out
    })
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
