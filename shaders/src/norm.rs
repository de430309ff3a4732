//! LayerNorm with a modulation (FLUX) and RMSNorm with a weight (Qwen, T5).

#[cfg(not(target_family = "wasm"))]
mod autodiff;
pub(crate) mod composed;
mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

pub(crate) use wgpu::shaders;

/// LayerNorm over the last axis without weights, then `· (1 + scale) + shift`: `[batch, tokens, hidden]`.
///
/// - `x`: `[batch, tokens, hidden]`
/// - `scale`, `shift`: `[batch, 1, hidden]`
/// - `eps`: added to the variance
///
/// All are f32; any of them may be a slice of a wider tensor.
///
/// # Panics
/// When the shapes do not agree as above.
pub fn modulated_layer_norm(
    x: Tensor<3>,
    scale: Tensor<3>,
    shift: Tensor<3>,
    eps: f32,
) -> Tensor<3> {
    let [batch, _, hidden] = x.dims();
    assert!(
        scale.dims() == [batch, 1, hidden] && shift.dims() == [batch, 1, hidden],
        "modulated_layer_norm: scale and shift must be [{batch}, 1, {hidden}]"
    );
    Tensor::from_dispatch(<Dispatch as NormOps>::modulated_layer_norm(
        x.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        eps,
    ))
}

/// RMSNorm, `x / sqrt(mean(x²) + eps) · weight`, over the last axis: the shape of `x`.
///
/// - `x`: `[.., width]`, f32
/// - `weight`: `[width]`, f32
///
/// # Panics
/// When the widths differ.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f32) -> Tensor<D> {
    let shape = x.dims();
    let width = shape[D - 1];
    assert_eq!(
        weight.dims(),
        [width],
        "rms_norm: the weight needs the input's width"
    );
    let rows = shape[..D - 1].iter().product::<usize>();
    let x = x.reshape([1, rows, width]);
    let out = <Dispatch as NormOps>::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps);
    Tensor::<3>::from_dispatch(out).reshape(shape)
}

/// What a backend may replace; shapes as in the functions above, which check them.
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait NormOps: Backend {
    /// [`modulated_layer_norm`].
    fn modulated_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        composed::modulated_layer_norm::<Self>(x, scale, shift, eps)
    }

    /// The gradient of [`modulated_layer_norm`]'s `x`, of its inputs and the output's gradient.
    fn modulated_layer_norm_gradient(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        composed::modulated_layer_norm_gradient::<Self>(x, scale, gradient, eps)
    }

    /// [`rms_norm`] of `x [1, rows, width]`.
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        composed::rms_norm::<Self>(x, weight, eps)
    }
}
