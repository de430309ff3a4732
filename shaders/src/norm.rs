//! LayerNorm with a modulation (FLUX) and RMSNorm with a weight (Qwen, T5): the composed reference
//! and the public functions.
//!
//! Composed, either walks the widest activations of a block seven times; the kernels read a row
//! once from memory and write it once.

pub(crate) mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata};
use burn::tensor::{Shape, Tensor};

use crate::KernelOps;

/// LayerNorm over the last axis without weights, then `· (1 + scale) + shift`.
///
/// - `x`: `[batch, tokens, hidden]`
/// - `scale`, `shift`: `[batch, 1, hidden]`
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
    Tensor::from_dispatch(<Dispatch as KernelOps>::modulated_layer_norm(
        x.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        eps,
    ))
}

/// `x / sqrt(mean(x²) + eps) · weight` over the last axis, whose width is that of `weight`.
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
    let out = <Dispatch as KernelOps>::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps);
    Tensor::<3>::from_dispatch(out).reshape(shape)
}

/// The reference made of burn operations: differentiable, and right on every backend.
pub(crate) fn composed_modulated<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let mean = B::float_mean_dim(x.clone(), 2);
    let centred = B::float_sub(x, mean);
    let normed = composed_divided::<B>(centred, eps);
    let scale = B::float_add_scalar(scale, 1f32.into());
    B::float_add(B::float_mul(normed, scale), shift)
}

/// As [`composed_modulated`], of `x [1, rows, width]` and `weight [width]`.
pub(crate) fn composed_rms<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let width = weight.shape()[0];
    let weight = B::float_reshape(weight, Shape::new([1, 1, width]));
    B::float_mul(composed_divided::<B>(x, eps), weight)
}

/// `x / sqrt(mean(x²) + eps)` over the last axis.
pub(crate) fn composed_divided<B: Backend>(x: FloatTensor<B>, eps: f32) -> FloatTensor<B> {
    let last = x.shape().num_dims() - 1;
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), last);
    let root = B::float_sqrt(B::float_add_scalar(mean, eps.into()));
    B::float_mul(x, B::float_recip(root))
}
