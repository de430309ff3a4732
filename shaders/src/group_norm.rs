//! GroupNorm with its activation.
//!
//! Moments and normalizing are two operations. Each reads the picture once, and a part of a picture can be
//! normalized by the moments of the whole.

mod composed;
mod flex;
mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::autodiff::differentiable;
pub use composed::Activation;
pub(crate) use wgpu::shaders;

/// Mean and variance (dividing by the count) of each group of channels: `[batch, groups, 2]`, f32.
///
/// `x [batch, channels, height, width]` is f32.
///
/// # Panics
/// When `groups` does not divide the channels.
pub fn group_moments(x: Tensor<4>, groups: usize) -> Tensor<3> {
    let [_, channels, ..] = x.dims();
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "group_norm: {channels} channels do not make {groups} groups"
    );
    let moments = <Dispatch as GroupNormOps>::group_moments(x.into_dispatch(), groups);
    Tensor::from_dispatch(moments)
}

/// `activation((x - mean) / sqrt(variance + eps) · weight + bias)`: the shape of `x`, f32.
///
/// - `x`: `[batch, channels, height, width]`
/// - `moments`: `[batch, groups, 2]`, mean and variance as [`group_moments`] returns them
/// - `weight`, `bias`: `[channels]`
/// - `eps`: added to the variance
///
/// # Panics
/// When the shapes do not agree as above, or `groups` does not divide the channels.
pub fn group_normalize(
    x: Tensor<4>,
    moments: Tensor<3>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f32,
    activation: Activation,
) -> Tensor<4> {
    let ([batch, channels, ..], [of, groups, two]) = (x.dims(), moments.dims());
    assert!(
        (of, two) == (batch, 2) && groups > 0 && channels.is_multiple_of(groups),
        "group_norm: moments of [{of}, {groups}, {two}] for {channels} channels, batch {batch}"
    );
    assert_eq!(
        weight.dims(),
        [channels],
        "group_norm: the weight's channels"
    );
    assert_eq!(bias.dims(), [channels], "group_norm: the bias's channels");
    Tensor::from_dispatch(<Dispatch as GroupNormOps>::group_normalize(
        x.into_dispatch(),
        moments.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        eps,
        activation,
    ))
}

/// What a backend may replace; shapes as in the functions above, which check them.
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait GroupNormOps: Backend {
    /// [`group_moments`].
    fn group_moments(x: FloatTensor<Self>, groups: usize) -> FloatTensor<Self> {
        composed::group_moments::<Self>(x, groups)
    }

    /// [`group_normalize`].
    fn group_normalize(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
        activation: Activation,
    ) -> FloatTensor<Self> {
        composed::group_normalize::<Self>(x, moments, weight, bias, eps, activation)
    }
}

differentiable!(GroupNormOps);
