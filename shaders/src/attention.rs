//! Scaled dot-product attention: checks, the composed reference, and the public function.

pub(crate) mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata};
use burn::tensor::{Shape, Tensor};

use crate::KernelOps;

/// `softmax(q kᵀ · scale + mask) v`, shape `[batch, heads, q_tokens, head_dim]`.
///
/// - `q`: `[batch, heads, q_tokens, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, kv_tokens, head_dim]`, where `heads % kv_heads == 0`
///   (grouped-query attention: query head `h` reads key head `h / (heads / kv_heads)`)
/// - `mask`: added to the scaled scores, `[1 | batch, 1 | heads, q_tokens, kv_tokens]`
///
/// A masked key carries `f32::MIN`, not minus infinity: a row whose keys are all masked then gives
/// the average over all keys, as PyTorch's CPU kernel does, and never a NaN.
///
/// # Panics
/// When the shapes do not agree as above, or `kv_tokens` is zero.
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4>>,
    scale: f32,
) -> Tensor<4> {
    check_shapes(
        q.dims(),
        k.dims(),
        v.dims(),
        mask.as_ref().map(Tensor::dims),
    );
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(match mask {
        Some(mask) => {
            <Dispatch as KernelOps>::flash_attention_masked(q, k, v, mask.into_dispatch(), scale)
        }
        None => <Dispatch as KernelOps>::flash_attention(q, k, v, scale),
    })
}

fn check_shapes(q: [usize; 4], k: [usize; 4], v: [usize; 4], mask: Option<[usize; 4]>) {
    assert_eq!(k, v, "attention: keys and values must have one shape");
    let [batch, heads, q_tokens, head_dim] = q;
    let [kv_batch, kv_heads, kv_tokens, kv_dim] = k;
    assert!(
        kv_batch == batch && kv_dim == head_dim,
        "attention: queries {q:?} and keys {k:?} must agree in batch and head_dim"
    );
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "attention: {heads} query heads must be a multiple of {kv_heads} key heads"
    );
    assert!(kv_tokens > 0, "attention: there must be at least one key");
    if let Some(mask) = mask {
        assert!(
            (mask[0] == 1 || mask[0] == batch)
                && (mask[1] == 1 || mask[1] == heads)
                && mask[2..] == [q_tokens, kv_tokens],
            "attention: mask {mask:?} must be [1 | {batch}, 1 | {heads}, {q_tokens}, {kv_tokens}]"
        );
    }
}

/// The reference made of burn operations: differentiable, and right on every backend.
pub(crate) fn composed<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    mask: Option<FloatTensor<B>>,
    scale: f32,
) -> FloatTensor<B> {
    let (q_shape, kv_shape) = (q.shape(), k.shape());
    let (batch, heads, q_tokens, head_dim) = (q_shape[0], q_shape[1], q_shape[2], q_shape[3]);
    let (kv_heads, kv_tokens) = (kv_shape[1], kv_shape[2]);
    // The query heads that share a key head become rows of one matrix: no expanded keys.
    let rows = heads / kv_heads * q_tokens;
    let q = B::float_reshape(q, Shape::new([batch, kv_heads, rows, head_dim]));
    let scores = B::float_matmul(
        B::float_mul_scalar(q, scale.into()),
        B::float_swap_dims(k, 2, 3),
    );
    let scores = B::float_reshape(scores, Shape::new([batch, heads, q_tokens, kv_tokens]));
    let scores = match mask {
        Some(mask) => B::float_add(scores, mask),
        None => scores,
    };
    let weights = B::softmax(scores, 3);
    let weights = B::float_reshape(weights, Shape::new([batch, kv_heads, rows, kv_tokens]));
    let out = B::float_matmul(weights, v);
    B::float_reshape(out, q_shape) // [batch, heads, q_tokens, head_dim]
}
