//! Gradients of the norms.
//!
//! With `n = c / sqrt(mean(c²) + eps)` and `d` the gradient of `n`, that of `c` is `(d - n · mean(d n)) / sqrt(..)`.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_flex::{Flex, FlexTensor};

use super::NormOps;
use crate::autodiff::{Gradients, Strategy, kept, record};
use crate::cpu::{Rows, all_f32, each_row, sum_rows, tensor};
use x2i_cpu::vectorize::{Kernel, dot, fold, inverse_root_mean_square, multiply_add, vectorize};

/// What a backend may replace.
pub(crate) trait NormGradients: Backend {
    /// Those of `x`, `scale` and `shift`.
    fn modulated_layer_norm_backward(
        [x, scale]: [FloatTensor<Self>; 2],
        gradient: FloatTensor<Self>,
        eps: f32,
    ) -> [FloatTensor<Self>; 3] {
        let mean = Self::float_mean_dim(x.clone(), 2);
        let (normed, inverse) = normed::<Self>(Self::float_sub(x, mean), eps);
        let shift = Self::float_sum_dim(gradient.clone(), 1);
        let of_scale = Self::float_mul(gradient.clone(), normed.clone());
        let of_scale = Self::float_sum_dim(of_scale, 1);
        let scale = Self::float_add_scalar(scale, 1f32.into());
        let gradient = Self::float_mul(gradient, scale);
        let of_x = norm_backward::<Self>(normed, inverse, gradient);
        let mean = Self::float_mean_dim(of_x.clone(), 2);
        [Self::float_sub(of_x, mean), of_scale, shift]
    }

    /// Those of `x [1, rows, width]` and `weight [width]`, the latter where it is wanted.
    fn rms_norm_backward(
        [x, weight]: [FloatTensor<Self>; 2],
        gradient: FloatTensor<Self>,
        eps: f32,
        weight_is_wanted: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let width = weight.shape()[0];
        let (normed, inverse) = normed::<Self>(x, eps);
        let of_weight = weight_is_wanted.then(|| {
            let products = Self::float_mul(gradient.clone(), normed.clone());
            Self::float_reshape(Self::float_sum_dim(products, 1), Shape::new([width]))
        });
        let weight = Self::float_reshape(weight, Shape::new([1, 1, width]));
        let gradient = Self::float_mul(gradient, weight);
        (norm_backward::<Self>(normed, inverse, gradient), of_weight)
    }
}

/// `x / sqrt(mean(x²) + eps)` over the last axis, and the inverse of the root.
pub(crate) fn normed<B: Backend>(x: FloatTensor<B>, eps: f32) -> (FloatTensor<B>, FloatTensor<B>) {
    let last = x.shape().num_dims() - 1;
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), last);
    let root = B::float_sqrt(B::float_add_scalar(mean, eps.into()));
    let inverse = B::float_recip(root);
    (B::float_mul(x, inverse.clone()), inverse)
}

/// The gradient of `x`, where that of `normed` is `gradient`.
pub(crate) fn norm_backward<B: Backend>(
    normed: FloatTensor<B>,
    inverse: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> FloatTensor<B> {
    let last = normed.shape().num_dims() - 1;
    let along = B::float_mean_dim(B::float_mul(gradient.clone(), normed.clone()), last);
    let across = B::float_sub(gradient, B::float_mul(normed, along));
    B::float_mul(across, inverse)
}

impl NormGradients for CubeBackend {}

impl NormGradients for Flex {
    fn modulated_layer_norm_backward(
        [x, scale]: [FlexTensor; 2],
        gradient: FlexTensor,
        eps: f32,
    ) -> [FlexTensor; 3] {
        let shape = x.layout().shape().clone();
        assert!(all_f32([&x, &scale, &gradient]), "gradients are f32");
        let (batch, tokens, width) = (shape[0], shape[1], shape[2]);
        let (x, scale, gradient) = (Rows::new(x), Rows::new(scale), Rows::new(gradient));
        // Of scale and of shift, side by side.
        let sums = sum_rows([batch, tokens, 2 * width], |row, sums| {
            let (scale, shift) = sums.split_at_mut(width);
            vectorize(AddModulation {
                x: x.at(row),
                gradient: gradient.at(row),
                eps,
                scale,
                shift,
            });
        });
        let of_x = each_row(batch * tokens, width, |row, out| {
            vectorize(LayerNormBackward {
                x: x.at(row),
                scale: scale.row(row / tokens, 0),
                gradient: gradient.at(row),
                eps,
                out,
            });
        });
        let half = |second: usize| {
            let rows = sums.chunks_exact(width).skip(second).step_by(2);
            tensor(rows.flatten().copied().collect(), [batch, 1, width])
        };
        [tensor(of_x, shape), half(0), half(1)]
    }

    fn rms_norm_backward(
        [x, weight]: [FlexTensor; 2],
        gradient: FlexTensor,
        eps: f32,
        weight_is_wanted: bool,
    ) -> (FlexTensor, Option<FlexTensor>) {
        let shape = x.layout().shape().clone();
        assert!(all_f32([&x, &weight, &gradient]), "gradients are f32");
        let (rows, width) = (shape[1], shape[2]);
        let (x, weight, gradient) = (Rows::new(x), weight.to_contiguous(), Rows::new(gradient));
        let weight = weight.storage::<f32>();
        let of_weight = weight_is_wanted.then(|| {
            let sums = sum_rows([1, rows, width], |row, sums| {
                vectorize(AddWeight {
                    x: x.at(row),
                    gradient: gradient.at(row),
                    eps,
                    sums,
                });
            });
            tensor(sums, [width])
        });
        let of_x = each_row(rows, width, |row, out| {
            vectorize(RmsNormBackward {
                x: x.at(row),
                weight,
                gradient: gradient.at(row),
                eps,
                out,
            });
        });
        (tensor(of_x, shape), of_weight)
    }
}

/// Adds a row's gradients of scale and shift.
struct AddModulation<'a> {
    x: &'a [f32],
    gradient: &'a [f32],
    eps: f32,
    scale: &'a mut [f32],
    shift: &'a mut [f32],
}

impl Kernel for AddModulation<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (mean, inverse) = moments(self.x, self.eps);
        let inputs = self.x.iter().zip(self.gradient);
        let sums = self.scale.iter_mut().zip(self.shift);
        for ((x, gradient), (scale, shift)) in inputs.zip(sums) {
            *scale = multiply_add((x - mean) * inverse, *gradient, *scale);
            *shift += gradient;
        }
    }
}

/// The mean, and the inverse of the standard deviation.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let width = x.len() as f32;
    let mean = fold(x, 0.0, |a, b| a + b) / width;
    let mut lanes = [0.0; 32];
    let (chunks, rest) = x.as_chunks::<32>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = multiply_add(x - mean, x - mean, *lane);
        }
    }
    let rest = rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
    let variance = (lanes.into_iter().sum::<f32>() + rest) / width;
    (mean, (variance + eps).sqrt().recip())
}

struct LayerNormBackward<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    gradient: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for LayerNormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (mean, inverse) = moments(self.x, self.eps);
        let width = self.x.len() as f32;
        for (out, (gradient, scale)) in self
            .out
            .iter_mut()
            .zip(self.gradient.iter().zip(self.scale))
        {
            *out = multiply_add(*gradient, *scale, *gradient);
        }
        // sum(d n) = (sum(d x) - mean sum(d)) · inverse
        let sum = fold(self.out, 0.0, |a, b| a + b);
        let along = (dot(self.out, self.x) - mean * sum) * inverse / width;
        let mean_gradient = sum / width;
        for (out, x) in self.out.iter_mut().zip(self.x) {
            let normed = (x - mean) * inverse;
            *out = (*out - mean_gradient - normed * along) * inverse;
        }
    }
}

/// Adds a row's gradient of the weight.
pub(crate) struct AddWeight<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) gradient: &'a [f32],
    pub(crate) eps: f32,
    pub(crate) sums: &'a mut [f32],
}

impl Kernel for AddWeight<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inverse = inverse_root_mean_square(self.x, self.eps);
        for (sum, (x, gradient)) in self.sums.iter_mut().zip(self.x.iter().zip(self.gradient)) {
            *sum = multiply_add(x * inverse, *gradient, *sum);
        }
    }
}

/// The gradient of a row that is normed and multiplied with `weight`.
pub(crate) struct RmsNormBackward<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) gradient: &'a [f32],
    pub(crate) eps: f32,
    pub(crate) out: &'a mut [f32],
}

impl Kernel for RmsNormBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inverse = inverse_root_mean_square(self.x, self.eps);
        for (out, (gradient, weight)) in self
            .out
            .iter_mut()
            .zip(self.gradient.iter().zip(self.weight))
        {
            *out = gradient * weight;
        }
        let along = dot(self.out, self.x) * inverse * inverse / self.x.len() as f32;
        for (out, x) in self.out.iter_mut().zip(self.x) {
            *out = (*out - x * along) * inverse;
        }
    }
}

#[derive(Debug, Clone)]
struct LayerNorm {
    eps: f32,
}

impl<B: NormGradients> Gradients<B, 3> for LayerNorm {
    fn reads(&self, _: [bool; 3]) -> [bool; 3] {
        [true, true, false]
    }

    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 3],
        gradient: FloatTensor<B>,
        _: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let [x, scale, _] = inputs;
        let [x, scale] = kept([x, scale]);
        B::modulated_layer_norm_backward([x, scale], gradient, self.eps).map(Some)
    }
}

#[derive(Debug, Clone)]
struct RmsNorm {
    eps: f32,
}

impl<B: NormGradients> Gradients<B, 2> for RmsNorm {
    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 2],
        gradient: FloatTensor<B>,
        wanted: [bool; 2],
    ) -> [Option<FloatTensor<B>>; 2] {
        let inputs = kept(inputs);
        let (x, weight) = B::rms_norm_backward(inputs, gradient, self.eps, wanted[1]);
        [Some(x), weight]
    }
}

impl<B: NormOps + NormGradients, C: Strategy> NormOps for Autodiff<B, C> {
    fn modulated_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        record::<B, C, _, _>(LayerNorm { eps }, [x, scale, shift], |[x, scale, shift]| {
            B::modulated_layer_norm(x, scale, shift, eps)
        })
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        record::<B, C, _, _>(RmsNorm { eps }, [x, weight], |[x, weight]| {
            B::rms_norm(x, weight, eps)
        })
    }
}
