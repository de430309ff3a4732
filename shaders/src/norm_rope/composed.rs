//! Norm and rotation made of burn operations: differentiable, and correct on every backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};

use crate::norm::composed::over_root_mean_square;

/// `parts`: `x [batch, tokens, heads * head_dim]` and `weight [head_dim]` of every stream.
pub(crate) fn norm_rope<B: Backend>(
    parts: Vec<(FloatTensor<B>, FloatTensor<B>)>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let normed = parts.into_iter().map(|(x, weight)| {
        let (shape, head_dim) = (x.shape(), weight.shape()[0]);
        let heads = shape[2] / head_dim;
        let x = B::float_reshape(x, Shape::new([shape[0], shape[1], heads, head_dim]));
        let weight = B::float_reshape(weight, Shape::new([1, 1, 1, head_dim]));
        B::float_mul(over_root_mean_square::<B>(x, eps), weight)
    });
    let x = B::float_cat(normed.collect(), 1);
    let x = B::float_swap_dims(x, 1, 2); // [batch, heads, tokens, head_dim]
    let shape = x.shape();
    let (batch, heads, tokens, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let pairs = Shape::new([batch * heads, tokens, head_dim / 2, 2]);
    let pairs = B::float_reshape(x.clone(), pairs);
    let channel = |index: isize| {
        let all = Slice::new(0, None, 1);
        let one = Slice::new(index, Some(index + 1), 1);
        B::float_slice(pairs.clone(), &[all, all, all, one])
    };
    let turned = B::float_cat(vec![B::float_neg(channel(1)), channel(0)], 3);
    let turned = B::float_reshape(turned, shape);
    let angles = |angles| B::float_reshape(angles, Shape::new([1, 1, tokens, head_dim]));
    B::float_add(
        B::float_mul(x, angles(cos)),
        B::float_mul(turned, angles(sin)),
    )
}

/// The gradient of `x [batch, tokens, heads * head_dim]` of one stream, of the output's `[batch, heads, tokens,
/// head_dim]`.
pub(crate) fn norm_rope_gradient<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    gradient: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let (shape, x_shape) = (gradient.shape(), x.shape());
    let (batch, heads, tokens, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let angles = |angles| B::float_reshape(angles, Shape::new([1, 1, tokens, head_dim]));
    let turned = B::float_mul(gradient.clone(), angles(sin));
    let pairs = B::float_reshape(turned, Shape::new([batch * heads, tokens, head_dim / 2, 2]));
    let channel = |index: isize| {
        let all = Slice::new(0, None, 1);
        let one = Slice::new(index, Some(index + 1), 1);
        B::float_slice(pairs.clone(), &[all, all, all, one])
    };
    let turned = B::float_cat(vec![channel(1), B::float_neg(channel(0))], 3);
    let turned = B::float_reshape(turned, shape);
    let gradient = B::float_add(B::float_mul(gradient, angles(cos)), turned);
    let gradient = B::float_swap_dims(gradient, 1, 2); // [batch, tokens, heads, head_dim]
    let weight = B::float_reshape(weight, Shape::new([1, 1, 1, head_dim]));
    let gradient = B::float_mul(gradient, weight);
    let x = B::float_reshape(x, Shape::new([batch, tokens, heads, head_dim]));
    let square = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), 3);
    let root = B::float_recip(B::float_sqrt(B::float_add_scalar(square, eps.into())));
    let along = B::float_mean_dim(B::float_mul(gradient.clone(), x.clone()), 3);
    let along = B::float_mul(along, B::float_mul(root.clone(), root.clone()));
    let gradient = B::float_sub(gradient, B::float_mul(x, along));
    B::float_reshape(B::float_mul(gradient, root), x_shape)
}
