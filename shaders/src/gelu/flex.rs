//! GELU on the CPU: one pass, in place where nobody else holds the tensor, in parallel.

use burn::tensor::DType;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::{CUBIC, TWICE_SQRT_2_OVER_PI};
use crate::vectorize::{Kernel, exp, multiply_add, vectorize};

/// Values of a task: 64 kB, so that many tasks share the work evenly.
const TASK: usize = 16 * 1024;

pub(crate) fn gelu_tanh(x: FlexTensor) -> FlexTensor {
    if x.dtype() != DType::F32 {
        return super::composed::<Flex>(x);
    }
    let mut x = x.to_contiguous();
    x.storage_mut::<f32>()
        .par_chunks_mut(TASK)
        .for_each(|values| vectorize(Gelu { values }));
    x
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
