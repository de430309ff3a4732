//! GELU made of burn operations: differentiable, and correct on every backend.
//!
//! `x/2 · (1 + tanh(u))` is `x · sigmoid(2u)`: one exponential instead of a tanh, and no power.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

/// `2 · sqrt(2 / π)`.
pub(crate) const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
/// The coefficient of the cubic term.
pub(crate) const CUBIC: f32 = 0.044_715;

pub(crate) fn gelu_tanh<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let square = B::float_mul(x.clone(), x.clone());
    let slope = B::float_mul_scalar(square, (TWICE_SQRT_2_OVER_PI * CUBIC).into());
    let slope = B::float_add_scalar(slope, TWICE_SQRT_2_OVER_PI.into());
    let gate = B::sigmoid(B::float_mul(x.clone(), slope));
    B::float_mul(x, gate)
}

pub(crate) fn gelu_tanh_after<B: Backend>(
    left: FloatTensor<B>,
    right: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_cat(vec![left, gelu_tanh::<B>(right)], 2)
}

/// `gradient` times the slope at `x`.
pub(crate) fn gelu_tanh_gradient<B: Backend>(
    x: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> FloatTensor<B> {
    let square = B::float_mul(x.clone(), x.clone());
    let line = |cubic: f32| {
        let slope = B::float_mul_scalar(square.clone(), (TWICE_SQRT_2_OVER_PI * cubic).into());
        B::float_add_scalar(slope, TWICE_SQRT_2_OVER_PI.into())
    };
    let gate = B::sigmoid(B::float_mul(x.clone(), line(CUBIC)));
    let left = B::float_add_scalar(B::float_neg(gate.clone()), 1f32.into());
    let inner = B::float_mul(B::float_mul(x, left), line(3.0 * CUBIC));
    let slope = B::float_mul(gate, B::float_add_scalar(inner, 1f32.into()));
    B::float_mul(gradient, slope)
}
