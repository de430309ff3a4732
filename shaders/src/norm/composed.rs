//! The norms made of burn operations: differentiable, and correct on every backend.
//!
//! Composed, a norm makes seven passes over the widest activations of a block.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;

pub(crate) fn modulated_layer_norm<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let mean = B::float_mean_dim(x.clone(), 2);
    let centred = B::float_sub(x, mean);
    let normed = over_root_mean_square::<B>(centred, eps);
    let scale = B::float_add_scalar(scale, 1f32.into());
    B::float_add(B::float_mul(normed, scale), shift)
}

/// `x [1, rows, width]`, `weight [width]`.
pub(crate) fn rms_norm<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let width = weight.shape()[0];
    let weight = B::float_reshape(weight, Shape::new([1, 1, width]));
    B::float_mul(over_root_mean_square::<B>(x, eps), weight)
}

/// `x / sqrt(mean(x²) + eps)` over the last axis.
pub(crate) fn over_root_mean_square<B: Backend>(x: FloatTensor<B>, eps: f32) -> FloatTensor<B> {
    let last = x.shape().num_dims() - 1;
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), last);
    let root = B::float_sqrt(B::float_add_scalar(mean, eps.into()));
    B::float_mul(x, B::float_recip(root))
}
