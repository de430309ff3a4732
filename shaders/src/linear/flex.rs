//! A dense layer on the CPU: [`lanes`](x2i_cpu::lanes) for many rows on native targets, burn-flex's GEMM for few and on
//! processors without AVX2, our own GEMM in a browser, and [`halves`] for weights of 16 bits.

use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};

use super::{LinearOps, composed, halves};
use crate::cpu::{all_f32, tensor};
use crate::empty::has_no_terms;
use crate::gemm::{Strided, product};
use x2i_cpu::integer::InputBits;
use x2i_cpu::lanes::{Floats, float};
use x2i_cpu::vectorize::dot;

/// Up to this many input rows our GEMM would pack every weight for too few uses.
const FEW_ROWS: usize = 2;

/// Up to this many input rows most lanes would be empty.
const FEW_ROWS_OF_LANES: usize = 8;

impl LinearOps for Flex {
    fn linear(x: FlexTensor, weight: FlexTensor, input_bits: InputBits) -> FlexTensor {
        linear(x, weight, None, input_bits)
    }

    fn linear_bias(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        input_bits: InputBits,
    ) -> FlexTensor {
        linear(x, weight, Some(bias), input_bits)
    }
}

fn linear(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    input_bits: InputBits,
) -> FlexTensor {
    let native = !cfg!(target_family = "wasm");
    if native && halves::is_half(&weight) && x.dtype() == DType::F32 {
        return halves::linear(x, weight, bias, input_bits);
    }
    let (m, cols) = (x.layout().shape()[0], x.layout().shape()[1]);
    let rows = weight.layout().shape()[0];
    let all_f32 = all_f32([&x, &weight].into_iter().chain(&bias));
    if !all_f32 || has_no_terms([m, rows, cols]) {
        return composed::linear::<Flex>(x, weight, bias);
    }
    if native {
        return many_rows(&x, &weight, bias.as_ref())
            .unwrap_or_else(|| composed::linear::<Flex>(x, weight, bias));
    }
    let bias = bias.map(|bias| bias.to_contiguous());
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let out = if m <= FEW_ROWS {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        few_rows(x.storage(), weight.storage(), bias, cols)
    } else {
        product(&Strided::new(&x, 1), &Strided::new(&weight, 1), cols, bias)
    };
    tensor(out, [m, rows])
}

/// The product of many rows by [`lanes`](x2i_cpu::lanes), where the processor has a unit for it.
fn many_rows(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> Option<FlexTensor> {
    let (m, cols) = (x.layout().shape()[0], x.layout().shape()[1]);
    let rows = weight.layout().shape()[0];
    if m <= FEW_ROWS_OF_LANES {
        return None;
    }
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let bias = bias.map(FlexTensor::to_contiguous);
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let weight = Floats {
        weight: weight.storage(),
        cols,
    };
    let out = float::product(x.storage(), &weight, [rows, cols], bias);
    out.map(|out| tensor(out, [m, rows]))
}

fn few_rows(x: &[f32], weight: &[f32], bias: Option<&[f32]>, cols: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len() / cols * (weight.len() / cols));
    for x in x.chunks_exact(cols) {
        let products = weight.chunks_exact(cols).map(|weight| dot(x, weight));
        match bias {
            Some(bias) => out.extend(products.zip(bias).map(|(product, bias)| product + bias)),
            None => out.extend(products),
        }
    }
    out
}
