//! GroupNorm made of burn operations: differentiable, and correct on every backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};

/// What follows the normalizing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    None,
    /// `x · sigmoid(x)`.
    Silu,
}

pub(crate) fn group_moments<B: Backend>(x: FloatTensor<B>, groups: usize) -> FloatTensor<B> {
    let (batch, len) = (x.shape()[0], x.shape().num_elements());
    let x = B::float_reshape(x, Shape::new([batch, groups, len / (batch * groups)]));
    let mean = B::float_mean_dim(x.clone(), 2);
    let centred = B::float_sub(x, mean.clone());
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred), 2);
    B::float_cat(vec![mean, variance], 2)
}

pub(crate) fn group_normalize<B: Backend>(
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
