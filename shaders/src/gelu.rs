//! GELU in its tanh form, FLUX's and T5's activation: the composed reference and the public function.
//!
//! [`gelu_tanh_after`] also puts another tensor's channels before the result, as a single block of FLUX
//! wants it: the concatenation is written once.
//!
//! `x/2 · (1 + tanh(u))` is `x · sigmoid(2u)`: one exponential instead of a tanh, and no power. On
//! the CPU one parallel pass over the MLP's widest tensor replaces burn's eight serial ones.

pub(crate) mod flex;
pub(crate) mod wgpu;

use burn::backend::Backend;
use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Tensor;

use crate::KernelOps;

/// `2 · sqrt(2 / π)`.
pub(crate) const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
/// Of the cubic term.
pub(crate) const CUBIC: f32 = 0.044_715;

/// `x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³)))`, any shape.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as KernelOps>::gelu_tanh(x.into_dispatch()))
}

/// `left` and the GELU of `right`, side by side: `[batch, tokens, left width + right width]`.
///
/// `right` may be a slice of a wider tensor; it is read where it is.
///
/// # Panics
/// When batch or tokens differ.
pub fn gelu_tanh_after(left: Tensor<3>, right: Tensor<3>) -> Tensor<3> {
    assert_eq!(
        left.dims()[..2],
        right.dims()[..2],
        "gelu_tanh_after: batch and tokens must agree"
    );
    Tensor::from_dispatch(<Dispatch as KernelOps>::gelu_tanh_after(
        left.into_dispatch(),
        right.into_dispatch(),
    ))
}

/// The reference made of burn operations: differentiable, and right on every backend.
pub(crate) fn composed<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let square = B::float_mul(x.clone(), x.clone());
    let slope = B::float_mul_scalar(square, (TWICE_SQRT_2_OVER_PI * CUBIC).into());
    let slope = B::float_add_scalar(slope, TWICE_SQRT_2_OVER_PI.into());
    let gate = B::sigmoid(B::float_mul(x.clone(), slope));
    B::float_mul(x, gate)
}

/// As [`composed`], of [`gelu_tanh_after`].
pub(crate) fn composed_after<B: Backend>(
    left: FloatTensor<B>,
    right: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_cat(vec![left, composed::<B>(right)], 2)
}
