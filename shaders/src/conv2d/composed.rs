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

pub(crate) fn halving_conv2d<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    [before, behind]: [usize; 2],
) -> FloatTensor<B> {
    let (x, around) = match before == behind {
        true => (x, before),
        false => (
            padded::<B>(padded::<B>(x, 2, [before, behind]), 3, [before, behind]),
            0,
        ),
    };
    let options = ConvOptions::new([2, 2], [around; 2], [1, 1], 1);
    B::conv2d(x, weight, Some(bias), options)
}

/// Zeros before and behind an axis.
fn padded<B: Backend>(x: FloatTensor<B>, axis: usize, zeros: [usize; 2]) -> FloatTensor<B> {
    let [before, behind] = zeros.map(|count| {
        let mut shape = x.shape();
        shape[axis] = count;
        B::float_zeros(shape, &x.device(), x.dtype().into())
    });
    B::float_cat(vec![before, x, behind], axis)
}

/// Each pixel becomes 2 x 2.
fn twice<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let (planes, height, width) = (shape[0] * shape[1], shape[2], shape[3]);
    let x = B::float_reshape(x, Shape::new([planes, height, 1, width, 1]));
    let x = B::float_expand(x, Shape::new([planes, height, 2, width, 2]));
    B::float_reshape(x, Shape::new([shape[0], shape[1], height * 2, width * 2]))
}
