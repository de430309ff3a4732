//! GroupNorm with its activation: the composed reference and the public functions.
//!
//! Moments and normalizing are two operations: each reads the picture once, and a part of a picture
//! can be normalized by the moments of the whole.

pub(crate) mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata};
use burn::tensor::{Shape, Slice, Tensor};

use crate::KernelOps;

/// What follows the normalizing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    None,
    /// `x · sigmoid(x)`.
    Silu,
}

/// Mean and variance, dividing by the count, of each group of channels of
/// `x [batch, channels, height, width]`: `[batch, groups, 2]`.
///
/// # Panics
/// When `groups` does not divide the channels.
pub fn group_moments(x: Tensor<4>, groups: usize) -> Tensor<3> {
    let [_, channels, ..] = x.dims();
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "group_norm: {channels} channels do not make {groups} groups"
    );
    let moments = <Dispatch as KernelOps>::group_moments(x.into_dispatch(), groups);
    Tensor::from_dispatch(moments)
}

/// `activation((x - mean) / sqrt(variance + eps) · weight + bias)` by given moments
/// `[batch, groups, 2]`; `weight` and `bias` `[channels]`, same shape out.
///
/// # Panics
/// When the shapes do not agree as above.
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
    Tensor::from_dispatch(<Dispatch as KernelOps>::group_normalize(
        x.into_dispatch(),
        moments.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        eps,
        activation,
    ))
}

/// The moments made of burn operations: differentiable, and right on every backend.
pub(crate) fn composed_moments<B: Backend>(x: FloatTensor<B>, groups: usize) -> FloatTensor<B> {
    let (batch, len) = (x.shape()[0], x.shape().num_elements());
    let x = B::float_reshape(x, Shape::new([batch, groups, len / (batch * groups)]));
    let mean = B::float_mean_dim(x.clone(), 2);
    let centred = B::float_sub(x, mean.clone());
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred), 2);
    B::float_cat(vec![mean, variance], 2)
}

/// Normalizing made of burn operations.
pub(crate) fn composed_normalize<B: Backend>(
    x: FloatTensor<B>,
    moments: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    eps: f32,
    activation: Activation,
) -> FloatTensor<B> {
    let shape = x.shape();
    let (batch, channels, groups) = (shape[0], shape[1], moments.shape()[1]);
    let moment = |index: usize| {
        let all = |count: usize| Slice::from(0..count);
        let place = [all(batch), all(groups), Slice::from(index..index + 1)];
        B::float_slice(moments.clone(), &place)
    };
    let len = shape.num_elements() / (batch * groups);
    let x = B::float_reshape(x, Shape::new([batch, groups, len]));
    let deviation = B::float_sqrt(B::float_add_scalar(moment(1), eps.into()));
    let x = B::float_div(B::float_sub(x, moment(0)), deviation);
    let x = B::float_reshape(x, shape);
    let of_channels = |values| B::float_reshape(values, Shape::new([1, channels, 1, 1]));
    let x = B::float_add(B::float_mul(x, of_channels(weight)), of_channels(bias));
    match activation {
        Activation::None => x,
        Activation::Silu => B::float_mul(x.clone(), B::sigmoid(x)),
    }
}
