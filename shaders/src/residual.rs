//! `x + gate · y`, how a block of FLUX returns to its stream: the composed reference and the public
//! function.

pub(crate) mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch};
use burn::tensor::Tensor;

use crate::KernelOps;

/// `x + gate · y`, in place where nobody else holds `x` or `y`.
///
/// - `x`, `y`: `[batch, tokens, hidden]`
/// - `gate`: `[batch, 1, hidden]`
///
/// # Panics
/// When the shapes do not agree as above.
pub fn gated_residual(x: Tensor<3>, gate: Tensor<3>, y: Tensor<3>) -> Tensor<3> {
    let [batch, _, hidden] = x.dims();
    assert_eq!(x.dims(), y.dims(), "gated_residual: x and y must agree");
    assert_eq!(
        gate.dims(),
        [batch, 1, hidden],
        "gated_residual: the gate must be [batch, 1, hidden]"
    );
    Tensor::from_dispatch(<Dispatch as KernelOps>::gated_residual(
        x.into_dispatch(),
        gate.into_dispatch(),
        y.into_dispatch(),
    ))
}

/// The reference made of burn operations: differentiable, and right on every backend.
pub(crate) fn composed<B: Backend>(
    x: FloatTensor<B>,
    gate: FloatTensor<B>,
    y: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_add(x, B::float_mul(y, gate))
}
