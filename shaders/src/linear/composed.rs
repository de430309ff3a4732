//! A dense layer made of burn operations: differentiable, and correct on every backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;

pub(crate) fn linear<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let product = B::float_matmul(x, B::float_transpose(weight));
    match bias {
        Some(bias) => add_bias::<B>(product, bias),
        None => product,
    }
}

/// `left [.., m, k]` times `right [.., k, n]`.
pub(crate) fn matmul<B: Backend>(left: FloatTensor<B>, right: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(left, right)
}

/// `product [m, rows]` plus `bias [rows]`.
pub(crate) fn add_bias<B: Backend>(
    product: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let rows = bias.shape()[0];
    B::float_add(product, B::float_reshape(bias, Shape::new([1, rows])))
}
