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

/// The gradient of the input of [`modulated_layer_norm`], of the output's.
pub(crate) fn modulated_layer_norm_gradient<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    gradient: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let mean = B::float_mean_dim(x.clone(), 2);
    let centred = B::float_sub(x, mean);
    let square = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), 2);
    let root = B::float_recip(B::float_sqrt(B::float_add_scalar(square, eps.into())));
    let normed = B::float_mul(centred, root.clone());
    let scale = B::float_add_scalar(scale, 1f32.into());
    let gradient = B::float_mul(gradient, scale);
    let along = B::float_mean_dim(B::float_mul(gradient.clone(), normed.clone()), 2);
    let mean = B::float_mean_dim(gradient.clone(), 2);
    let gradient = B::float_sub(B::float_sub(gradient, mean), B::float_mul(normed, along));
    B::float_mul(gradient, root)
}
