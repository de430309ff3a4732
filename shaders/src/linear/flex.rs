//! A dense layer on the CPU: natively burn-flex's GEMM, in a browser our own; [`halves`] for weights
//! of 16 bits.

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{Flex, FlexTensor, Layout};

use super::halves;
use crate::gemm::{Strided, product};
use crate::vectorize::dot;

/// Up to this many input rows every weight is used too rarely to be worth packing.
const FEW_ROWS: usize = 2;

pub(crate) fn linear(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    if !cfg!(target_family = "wasm") && halves::is_half(&weight) && x.dtype() == DType::F32 {
        return halves::linear(x, weight, bias);
    }
    let all_f32 = [&x, &weight]
        .into_iter()
        .chain(&bias)
        .all(|tensor| tensor.dtype() == DType::F32);
    let (m, cols) = (x.layout().shape()[0], x.layout().shape()[1]);
    let rows = weight.layout().shape()[0];
    if !cfg!(target_family = "wasm") || !all_f32 || m * rows * cols == 0 {
        return super::composed::<Flex>(x, weight, bias);
    }
    let bias = bias.map(|bias| bias.to_contiguous());
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let out = if m <= FEW_ROWS {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        few_rows(x.storage(), weight.storage(), bias, cols)
    } else {
        product(&Strided::new(&x, 1), &Strided::new(&weight, 1), cols, bias)
    };
    let layout = Layout::contiguous(Shape::new([m, rows]));
    FlexTensor::new(Bytes::from_elems(out), layout, DType::F32)
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
