//! Convolutions that keep the size or double it: the composed reference and the public functions.
//!
//! On the CPU a 3x3 kernel runs as Winograd's F(4x4, 3x3), a quarter of the multiplications, and the
//! doubled picture is never made. Left out: strides, dilation and groups, which no decoder has.

pub(crate) mod flex;
mod transform;
mod winograd;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Shape, Tensor};

use crate::KernelOps;

/// `x [batch, in, height, width]` convolved with `weight [out, in, kernel, kernel]`, plus
/// `bias [out]`: `[batch, out, height, width]`. The kernel is odd; outside of the picture is zero.
///
/// # Panics
/// When the shapes do not agree as above.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    check(&x, &weight, &bias);
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let out = <Dispatch as KernelOps>::conv2d(x, weight, bias.into_dispatch());
    Tensor::from_dispatch(out)
}

/// [`conv2d`] of a picture each of whose pixels became 2 x 2: `[batch, out, 2 height, 2 width]`.
///
/// # Panics
/// As [`conv2d`].
pub fn upsample_conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    check(&x, &weight, &bias);
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let out = <Dispatch as KernelOps>::upsample_conv2d(x, weight, bias.into_dispatch());
    Tensor::from_dispatch(out)
}

fn check(x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>) {
    let [out, input, kernel, kernel_width] = weight.dims();
    assert_eq!(x.dims()[1], input, "conv2d: the input's channels");
    assert!(
        kernel == kernel_width && kernel % 2 == 1,
        "conv2d: the kernel is a square with a middle"
    );
    assert_eq!(bias.dims(), [out], "conv2d: the bias's channels");
}

/// The reference made of burn operations: differentiable, and right on every backend.
pub(crate) fn composed<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let padding = weight.shape()[2] / 2;
    let options = ConvOptions::new([1, 1], [padding; 2], [1, 1], 1);
    B::conv2d(x, weight, Some(bias), options)
}

/// Each pixel becomes 2 x 2.
pub(crate) fn twice<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let (planes, height, width) = (shape[0] * shape[1], shape[2], shape[3]);
    let x = B::float_reshape(x, Shape::new([planes, height, 1, width, 1]));
    let x = B::float_expand(x, Shape::new([planes, height, 2, width, 2]));
    B::float_reshape(x, Shape::new([shape[0], shape[1], height * 2, width * 2]))
}
