//! GELU on the CPU: one pass, in place where nobody else holds the tensor, in parallel.

use burn::tensor::{DType, Shape};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::{CUBIC, TWICE_SQRT_2_OVER_PI};
use crate::rows::{Rows, all_f32, contiguous, tensor};
use crate::vectorize::{Kernel, exp, multiply_add, vectorize};

/// Values of a task: 64 kB, so that many tasks share the work evenly.
const TASK: usize = 16 * 1024;

pub(crate) fn gelu_tanh(x: FlexTensor) -> FlexTensor {
    if x.dtype() != DType::F32 {
        return super::composed::<Flex>(x);
    }
    let mut x = contiguous(x);
    x.storage_mut::<f32>()
        .par_chunks_mut(TASK)
        .for_each(|values| vectorize(Gelu { values }));
    x
}

pub(crate) fn gelu_tanh_after(left: FlexTensor, right: FlexTensor) -> FlexTensor {
    let shape = left.layout().shape();
    let (batch, tokens, left_width) = (shape[0], shape[1], shape[2]);
    let width = left_width + right.layout().shape()[2];
    let shape = Shape::new([batch, tokens, width]);
    if !all_f32([&left, &right]) || shape.num_elements() == 0 {
        return super::composed_after::<Flex>(left, right);
    }
    let (left, right) = (Rows::new(left), Rows::new(right));
    let mut out = vec![0.0; shape.num_elements()];
    out.par_chunks_mut(width)
        .enumerate()
        .for_each(|(row, out)| {
            let (out_left, out_right) = out.split_at_mut(left_width);
            out_left.copy_from_slice(left.at(row));
            out_right.copy_from_slice(right.at(row));
            vectorize(Gelu { values: out_right });
        });
    tensor(out, shape)
}

struct Gelu<'a> {
    values: &'a mut [f32],
}

impl Kernel for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for value in self.values {
            let x = *value;
            let slope = multiply_add(x * x, TWICE_SQRT_2_OVER_PI * CUBIC, TWICE_SQRT_2_OVER_PI);
            let z = x * slope;
            // sigmoid(z) from e^-|z|, which can't overflow.
            let e = exp(-z.abs());
            let above = if z < 0.0 { e } else { 1.0 };
            *value = x * (above / (1.0 + e));
        }
    }
}
