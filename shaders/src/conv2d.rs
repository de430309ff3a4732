//! Convolutions that keep the size of the picture, double it or halve it.
//!
//! On the CPU a 3x3 kernel runs as Winograd's F(4x4, 3x3), with a quarter of the multiplications. On cooperative
//! matrices it is a product. In both the doubled picture is never stored. Other devices run burn's convolution, and
//! the CPU where it halves. Left out: other strides, dilation and groups, which no autoencoder has.

mod composed;
mod cooperative;
mod flex;
mod transform;
mod wgpu;
mod winograd;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::autodiff::differentiable;
use crate::wgsl::Shader;

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

/// [`conv2d`] at every second place of the picture with `zeros` before it and behind it, along both axes:
/// `[batch, out, (height + zeros - kernel) / 2 + 1, ..]`, f32.
///
/// # Panics
/// As [`conv2d`], but the kernel may be even; when it is larger than the picture with its zeros.
pub fn halving_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    zeros: [usize; 2],
) -> Tensor<4> {
    check_channels(&x, &weight, &bias);
    let [_, _, height, width] = x.dims();
    let [_, _, kernel, _] = weight.dims();
    assert!(
        height.min(width) + zeros[0] + zeros[1] >= kernel,
        "conv2d: the picture is smaller than the kernel"
    );
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let out = <Dispatch as ConvOps>::halving_conv2d(x, weight, bias.into_dispatch(), zeros);
    Tensor::from_dispatch(out)
}

/// Every shader for convolutions.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    cooperative::shaders()
}

fn check(x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>) {
    check_channels(x, weight, bias);
    assert!(
        weight.dims()[2] % 2 == 1,
        "conv2d: the kernel has no middle"
    );
}

fn check_channels(x: &Tensor<4>, weight: &Tensor<4>, bias: &Tensor<1>) {
    let [out, input, kernel, kernel_width] = weight.dims();
    assert_eq!(x.dims()[1], input, "conv2d: the input's channels");
    assert_eq!(kernel, kernel_width, "conv2d: the kernel is no square");
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

    /// [`halving_conv2d`].
    fn halving_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        zeros: [usize; 2],
    ) -> FloatTensor<Self> {
        composed::halving_conv2d::<Self>(x, weight, bias, zeros)
    }
}

differentiable!(ConvOps);
