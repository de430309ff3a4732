//! Norms on the CPU: rows run in parallel, and all passes over a row find it in the first-level cache.

use burn_flex::{Flex, FlexTensor};

use super::{NormOps, composed};
use crate::cpu::{Rows, all_f32, each_row, tensor};
use x2i_cpu::vectorize::{Kernel, fold, inverse_root_mean_square, multiply_add, vectorize};

impl NormOps for Flex {
    fn modulated_layer_norm(
        x: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        eps: f32,
    ) -> FlexTensor {
        let shape = x.layout().shape().clone();
        if !all_f32([&x, &scale, &shift]) || shape.num_elements() == 0 {
            return composed::modulated_layer_norm::<Self>(x, scale, shift, eps);
        }
        let (x, scale, shift) = (Rows::new(x), Rows::new(scale), Rows::new(shift));
        let rows = shape[0] * shape[1];
        let out = each_row(rows, x.width(), |row, out| {
            let batch = row / x.tokens();
            vectorize(LayerNorm {
                x: x.at(row),
                scale: scale.row(batch, 0),
                shift: shift.row(batch, 0),
                eps,
                out,
            });
        });
        tensor(out, shape)
    }

    fn rms_norm(x: FlexTensor, weight: FlexTensor, eps: f32) -> FlexTensor {
        let shape = x.layout().shape().clone();
        if !all_f32([&x, &weight]) || shape.num_elements() == 0 {
            return composed::rms_norm::<Self>(x, weight, eps);
        }
        let (x, weight) = (Rows::new(x), weight.to_contiguous());
        let weight = weight.storage::<f32>();
        let out = each_row(shape[1], x.width(), |row, out| {
            vectorize(RmsNorm {
                x: x.at(row),
                weight,
                eps,
                out,
            });
        });
        tensor(out, shape)
    }
}

struct LayerNorm<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let mean = fold(self.x, 0.0, |a, b| a + b) / self.x.len() as f32;
        for (out, x) in self.out.iter_mut().zip(self.x) {
            *out = x - mean;
        }
        let root = inverse_root_mean_square(self.out, self.eps);
        let modulation = self.scale.iter().zip(self.shift);
        for (out, (scale, shift)) in self.out.iter_mut().zip(modulation) {
            *out = multiply_add(*out * root, 1.0 + scale, *shift);
        }
    }
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let root = inverse_root_mean_square(self.x, self.eps);
        for (out, (x, weight)) in self.out.iter_mut().zip(self.x.iter().zip(self.weight)) {
            *out = x * root * weight;
        }
    }
}
