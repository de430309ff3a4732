//! GELU in its tanh form, the activation of FLUX and T5.
//!
//! [`gelu_tanh_after`] also puts the channels of another tensor before the result, as a single block of
//! FLUX needs it: the concatenation costs no pass of its own.

#[cfg(not(target_family = "wasm"))]
mod autodiff;
mod composed;
mod flex;
mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

pub(crate) use wgpu::shaders;

/// GELU of every element, `x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³)))`: any shape, f32, the same
/// shape out.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as GeluOps>::gelu_tanh(x.into_dispatch()))
}

/// `left [batch, tokens, left width]` and the GELU of `right [batch, tokens, right width]` side by side:
/// `[batch, tokens, left width + right width]`, all f32.
///
/// `right` may be a slice of a wider tensor: the kernels read it in place.
///
/// # Panics
/// When batch or tokens differ.
pub fn gelu_tanh_after(left: Tensor<3>, right: Tensor<3>) -> Tensor<3> {
    assert_eq!(
        left.dims()[..2],
        right.dims()[..2],
        "gelu_tanh_after: batch and tokens must agree"
    );
    Tensor::from_dispatch(<Dispatch as GeluOps>::gelu_tanh_after(
        left.into_dispatch(),
        right.into_dispatch(),
    ))
}

/// What a backend may replace; shapes as in the functions above, which check them.
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait GeluOps: Backend {
    /// [`gelu_tanh`].
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::gelu_tanh::<Self>(x)
    }

    /// [`gelu_tanh_after`].
    fn gelu_tanh_after(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::gelu_tanh_after::<Self>(left, right)
    }

    /// The gradient of [`gelu_tanh`]'s input, of that input and the output's gradient.
    fn gelu_tanh_gradient(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::gelu_tanh_gradient::<Self>(x, gradient)
    }
}
