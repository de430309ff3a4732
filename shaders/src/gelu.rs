//! GELU in its tanh form, FLUX's and T5's activation: the composed reference and the public function.
//!
//! `x/2 · (1 + tanh(u))` is `x · sigmoid(2u)`: one exponential instead of a tanh, and no power. On
//! the CPU one parallel pass over the MLP's widest tensor replaces burn's eight serial ones.

pub(crate) mod flex;

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

pub(crate) fn composed<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let square = B::float_mul(x.clone(), x.clone());
    let slope = B::float_mul_scalar(square, (TWICE_SQRT_2_OVER_PI * CUBIC).into());
    let slope = B::float_add_scalar(slope, TWICE_SQRT_2_OVER_PI.into());
    let gate = B::sigmoid(B::float_mul(x.clone(), slope));
    B::float_mul(x, gate)
}
