//! Norms on the CPU: a row is read from memory once and stays in the first level cache for the
//! passes over it; rows run in parallel.

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use crate::rows::{Rows, all_f32, tensor};
use crate::vectorize::{Kernel, dot, fold, multiply_add, vectorize};

/// Values of a task: 64 kB, so that many tasks share the work evenly.
const TASK: usize = 16 * 1024;

pub(crate) fn modulated_layer_norm(
    x: FlexTensor,
    scale: FlexTensor,
    shift: FlexTensor,
    eps: f32,
) -> FlexTensor {
    let shape = x.layout().shape().clone();
    if !all_f32([&x, &scale, &shift]) || shape.num_elements() == 0 {
        return super::composed_modulated::<Flex>(x, scale, shift, eps);
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

/// `x [1, rows, width]`
pub(crate) fn rms_norm(x: FlexTensor, weight: FlexTensor, eps: f32) -> FlexTensor {
    let shape = x.layout().shape().clone();
    if !all_f32([&x, &weight]) || shape.num_elements() == 0 {
        return super::composed_rms::<Flex>(x, weight, eps);
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

/// Fills `rows` rows of `width` in parallel: `fill(row, out)`.
fn each_row(rows: usize, width: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0.0; rows * width];
    let task_rows = (TASK / width).max(1);
    out.par_chunks_mut(task_rows * width)
        .enumerate()
        .for_each(|(task, out)| {
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                fill(task * task_rows + row, out);
            }
        });
    out
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
        let count = self.x.len() as f32;
        let mean = fold(self.x, 0.0, |a, b| a + b) / count;
        for (out, x) in self.out.iter_mut().zip(self.x) {
            *out = x - mean;
        }
        let root = (dot(self.out, self.out) / count + self.eps).sqrt().recip();
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
        let mean = dot(self.x, self.x) / self.x.len() as f32;
        let root = (mean + self.eps).sqrt().recip();
        for (out, (x, weight)) in self.out.iter_mut().zip(self.x.iter().zip(self.weight)) {
            *out = x * root * weight;
        }
    }
}
