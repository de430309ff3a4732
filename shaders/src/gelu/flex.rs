//! GELU on the CPU: one parallel pass, in place where the tensor has no other owner.
//!
//! Composed, burn makes eight serial passes over the widest tensor of the MLP.

use burn::tensor::{DType, Shape};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::GeluOps;
use super::composed::{self, CUBIC, TWICE_SQRT_2_OVER_PI};
use crate::cpu::{Rows, TASK, all_f32, contiguous, each_row, tensor};
use x2i_cpu::vectorize::{Kernel, multiply_add, sigmoid, vectorize};

impl GeluOps for Flex {
    fn gelu_tanh(x: FlexTensor) -> FlexTensor {
        if x.dtype() != DType::F32 {
            return composed::gelu_tanh::<Self>(x);
        }
        let mut x = contiguous(x);
        x.storage_mut::<f32>()
            .par_chunks_mut(TASK)
            .for_each(|values| vectorize(Gelu { values }));
        x
    }

    fn gelu_tanh_after(left: FlexTensor, right: FlexTensor) -> FlexTensor {
        let shape = left.layout().shape();
        let (batch, tokens, left_width) = (shape[0], shape[1], shape[2]);
        let width = left_width + right.layout().shape()[2];
        let shape = Shape::new([batch, tokens, width]);
        if !all_f32([&left, &right]) || shape.num_elements() == 0 {
            return composed::gelu_tanh_after::<Self>(left, right);
        }
        let (left, right) = (Rows::new(left), Rows::new(right));
        let out = each_row(batch * tokens, width, |row, out| {
            let (out_left, out_right) = out.split_at_mut(left_width);
            out_left.copy_from_slice(left.at(row));
            out_right.copy_from_slice(right.at(row));
            vectorize(Gelu { values: out_right });
        });
        tensor(out, shape)
    }
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
            *value = x * sigmoid(x * slope);
        }
    }
}
