//! RMSNorm of queries or keys over each head, rotation by position and the change of places of heads
//! and tokens in one pass: the composed reference and the public function.
//!
//! The rotation turns neighbouring channels (FLUX). Qwen's, which turns halves and has no norm
//! before it, stays composed.

pub(crate) mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata};
use burn::tensor::{Shape, Slice, Tensor};

use crate::KernelOps;

/// Queries or keys of one stream as its projection leaves them.
#[derive(Debug, Clone)]
pub struct Heads {
    /// `[batch, tokens, heads * head_dim]`, often a slice of `qkv`, which is read where it is.
    pub x: Tensor<3>,
    /// The norm's weight `[head_dim]`.
    pub weight: Tensor<1>,
}

/// RMSNorm of every head, then its rotation: `[batch, heads, tokens, head_dim]`.
///
/// With `more`, the tokens of both streams follow each other, `x`'s first.
///
/// - `cos`, `sin`: `[tokens, head_dim]` of all tokens; channels 2k and 2k + 1 turn together and
///   share one angle
///
/// # Panics
/// When the shapes do not agree as above, or `head_dim` is odd.
pub fn norm_rope(
    x: Heads,
    more: Option<Heads>,
    cos: Tensor<2>,
    sin: Tensor<2>,
    eps: f32,
) -> Tensor<4> {
    let [batch, mut tokens, width] = x.x.dims();
    let [head_dim] = x.weight.dims();
    assert!(
        head_dim.is_multiple_of(2) && width.is_multiple_of(head_dim),
        "norm_rope: {width} channels must be heads of an even width, not of {head_dim}"
    );
    if let Some(more) = &more {
        let [more_batch, more_tokens, more_width] = more.x.dims();
        assert!(
            (more_batch, more_width) == (batch, width) && more.weight.dims() == [head_dim],
            "norm_rope: both streams must agree in batch and heads"
        );
        tokens += more_tokens;
    }
    assert!(
        cos.dims() == [tokens, head_dim] && sin.dims() == [tokens, head_dim],
        "norm_rope: cos and sin must be [{tokens}, {head_dim}]"
    );
    let (cos, sin) = (cos.into_dispatch(), sin.into_dispatch());
    let (x, weight) = (x.x.into_dispatch(), x.weight.into_dispatch());
    Tensor::from_dispatch(match more {
        Some(more) => {
            let (more, more_weight) = (more.x.into_dispatch(), more.weight.into_dispatch());
            <Dispatch as KernelOps>::norm_rope_joint(x, weight, more, more_weight, cos, sin, eps)
        }
        None => <Dispatch as KernelOps>::norm_rope(x, weight, cos, sin, eps),
    })
}

/// The reference made of burn operations: differentiable, and right on every backend.
pub(crate) fn composed<B: Backend>(
    parts: Vec<(FloatTensor<B>, FloatTensor<B>)>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
    eps: f32,
) -> FloatTensor<B> {
    let normed = parts.into_iter().map(|(x, weight)| {
        let (shape, head_dim) = (x.shape(), weight.shape()[0]);
        let heads = shape[2] / head_dim;
        let x = B::float_reshape(x, Shape::new([shape[0], shape[1], heads, head_dim]));
        let weight = B::float_reshape(weight, Shape::new([1, 1, 1, head_dim]));
        B::float_mul(crate::norm::composed_divided::<B>(x, eps), weight)
    });
    let x = B::float_cat(normed.collect(), 1);
    let x = B::float_swap_dims(x, 1, 2); // [batch, heads, tokens, head_dim]
    let shape = x.shape();
    let (batch, heads, tokens, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let pairs = Shape::new([batch * heads, tokens, head_dim / 2, 2]);
    let pairs = B::float_reshape(x.clone(), pairs);
    let channel = |index: isize| {
        let all = Slice::new(0, None, 1);
        let one = Slice::new(index, Some(index + 1), 1);
        B::float_slice(pairs.clone(), &[all, all, all, one])
    };
    let turned = B::float_cat(vec![B::float_neg(channel(1)), channel(0)], 3);
    let turned = B::float_reshape(turned, shape);
    let angles = |angles| B::float_reshape(angles, Shape::new([1, 1, tokens, head_dim]));
    B::float_add(
        B::float_mul(x, angles(cos)),
        B::float_mul(turned, angles(sin)),
    )
}
