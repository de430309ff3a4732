//! The gated residual on the CPU: one pass, written into the input that has no other owner.

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::{ResidualOps, composed};
use crate::cpu::{Rows, all_f32, contiguous};
use x2i_cpu::vectorize::{Kernel, multiply_add, vectorize};

impl ResidualOps for Flex {
    fn gated_residual(x: FlexTensor, gate: FlexTensor, y: FlexTensor) -> FlexTensor {
        let shape = x.layout().shape().clone();
        if !all_f32([&x, &gate, &y]) || shape.num_elements() == 0 {
            return composed::gated_residual::<Self>(x, gate, y);
        }
        let (tokens, width) = (shape[1], shape[2]);
        let gate = Rows::new(gate);
        let (x, y) = (contiguous(x), contiguous(y));
        let into_x = x.is_unique();
        let (mut out, other) = if into_x { (x, y) } else { (y, x) };
        let values = other.storage::<f32>().par_chunks(width);
        out.storage_mut::<f32>()
            .par_chunks_mut(width)
            .zip(values)
            .enumerate()
            .for_each(|(row, (out, other))| {
                let gate = gate.row(row / tokens, 0);
                match into_x {
                    true => vectorize(AddTo {
                        x: out,
                        gate,
                        y: other,
                    }),
                    false => vectorize(AddFrom {
                        x: other,
                        gate,
                        y: out,
                    }),
                }
            });
        out
    }
}

/// `x += gate · y`
struct AddTo<'a> {
    x: &'a mut [f32],
    gate: &'a [f32],
    y: &'a [f32],
}

impl Kernel for AddTo<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (x, (gate, y)) in self.x.iter_mut().zip(self.gate.iter().zip(self.y)) {
            *x = multiply_add(*gate, *y, *x);
        }
    }
}

/// `y = x + gate · y`
struct AddFrom<'a> {
    x: &'a [f32],
    gate: &'a [f32],
    y: &'a mut [f32],
}

impl Kernel for AddFrom<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (y, (gate, x)) in self.y.iter_mut().zip(self.gate.iter().zip(self.x)) {
            *y = multiply_add(*gate, *y, *x);
        }
    }
}
