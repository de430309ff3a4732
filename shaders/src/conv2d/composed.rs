//! The convolutions made of burn operations: differentiable, and correct on every backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;
use burn::tensor::ops::ConvOptions;

pub(crate) fn conv2d<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let padding = weight.shape()[2] / 2;
    let options = ConvOptions::new([1, 1], [padding; 2], [1, 1], 1);
    B::conv2d(x, weight, Some(bias), options)
}

pub(crate) fn upsample_conv2d<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    conv2d::<B>(twice::<B>(x), weight, bias)
}

/// Each pixel becomes 2 x 2.
fn twice<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let (planes, height, width) = (shape[0] * shape[1], shape[2], shape[3]);
    let x = B::float_reshape(x, Shape::new([planes, height, 1, width, 1]));
    let x = B::float_expand(x, Shape::new([planes, height, 2, width, 2]));
    B::float_reshape(x, Shape::new([shape[0], shape[1], height * 2, width * 2]))
}
