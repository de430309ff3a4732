//! Convolutions that keep the size of the picture or double it.
//!
//! On the CPU a 3x3 kernel runs as Winograd's F(4x4, 3x3), with a quarter of the multiplications, and the
//! doubled picture is never stored. Other devices run burn's convolution. Left out: strides, dilation and
//! groups, which no decoder has.

mod composed;
mod flex;
mod transform;
mod winograd;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;

use crate::autodiff::differentiable;

/// `x [batch, in, height, width]` convolved with `weight [out, in, kernel, kernel]`, plus `bias [out]`:
/// `[batch, out, height, width]`, all f32.
///
/// The stride is 1 and the kernel is odd; the picture is padded with zeros.
///
/// # Panics
/// When the shapes do not agree as above.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    check(&x, &weight, &bias);
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let out = <Dispatch as ConvOps>::conv2d(x, weight, bias.into_dispatch());
    Tensor::from_dispatch(out)
}

/// [`conv2d`] of the picture upsampled to twice the size by nearest neighbour:
/// `[batch, out, 2 height, 2 width]`, f32.
///
/// # Panics
/// As [`conv2d`].
pub fn upsample_conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<4> {
    check(&x, &weight, &bias);
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let out = <Dispatch as ConvOps>::upsample_conv2d(x, weight, bias.into_dispatch());
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

/// What a backend may replace; shapes as in the functions above, which check them.
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait ConvOps: Backend {
    /// [`conv2d`].
    fn conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::conv2d::<Self>(x, weight, bias)
    }

    /// [`upsample_conv2d`].
    fn upsample_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::upsample_conv2d::<Self>(x, weight, bias)
    }
}

differentiable!(ConvOps);

impl ConvOps for CubeBackend {}
