//! Three steps of FLUX's attention in one pass: RMSNorm of queries or keys over each head, rotary
//! position embedding, and the swap of the axes of heads and tokens.
//!
//! The embedding rotates pairs of neighbouring channels (FLUX). Qwen's rotates the two halves of a head
//! and has no norm before it: it stays composed, in x2i-core.

#[cfg(not(target_family = "wasm"))]
mod autodiff;
mod composed;
mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

pub(crate) use wgpu::shaders;

/// Queries or keys of one stream, as the projection returns them.
#[derive(Debug, Clone)]
pub struct Heads {
    /// `[batch, tokens, heads * head_dim]`, f32. It may be a slice of `qkv`: the kernels read it in place.
    pub x: Tensor<3>,
    /// The weight of the norm, `[head_dim]`, f32.
    pub weight: Tensor<1>,
}

/// RMSNorm of every head, then its rotation: `[batch, heads, tokens, head_dim]`.
///
/// - `more`: a second stream, whose tokens follow those of `x`
/// - `cos`, `sin`: `[tokens, head_dim]` of all tokens, f32; channels 2k and 2k + 1 form a pair and
///   share one angle
/// - `eps`: added to the mean square
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
            <Dispatch as NormRopeOps>::norm_rope_joint(x, weight, more, more_weight, cos, sin, eps)
        }
        None => <Dispatch as NormRopeOps>::norm_rope(x, weight, cos, sin, eps),
    })
}

/// What a backend may replace; shapes as in the function above, which checks them.
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait NormRopeOps: Backend {
    /// [`norm_rope`] of one stream.
    fn norm_rope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        composed::norm_rope::<Self>(vec![(x, weight)], cos, sin, eps)
    }

    /// [`norm_rope`] of two streams.
    fn norm_rope_joint(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        more: FloatTensor<Self>,
        more_weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        composed::norm_rope::<Self>(vec![(x, weight), (more, more_weight)], cos, sin, eps)
    }

    /// The gradient of one stream's `x`, of its inputs and the output's gradient for its tokens; `cos` and `sin` are
    /// those of its tokens.
    fn norm_rope_gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        composed::norm_rope_gradient::<Self>(x, weight, cos, sin, gradient, eps)
    }
}
