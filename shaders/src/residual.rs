//! The gated residual, `x + gate · y`, by which a block of FLUX adds its result to its stream.

#[cfg(not(target_family = "wasm"))]
mod autodiff;
mod composed;
mod flex;
mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

pub(crate) use wgpu::shaders;

/// `x + gate · y`, f32, in place where `x` or `y` has no other owner.
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
    Tensor::from_dispatch(<Dispatch as ResidualOps>::gated_residual(
        x.into_dispatch(),
        gate.into_dispatch(),
        y.into_dispatch(),
    ))
}

/// What a backend may replace; shapes as in the function above, which checks them.
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait ResidualOps: Backend {
    /// [`gated_residual`].
    fn gated_residual(
        x: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::gated_residual::<Self>(x, gate, y)
    }
}
