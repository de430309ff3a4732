//! Scaled dot-product attention with an additive mask and grouped queries.

#[cfg(not(target_family = "wasm"))]
mod backward;
mod bfloat;
mod composed;
pub(crate) mod cooperative;
mod flex;
mod mask;
mod tasks;
pub(crate) mod wgpu;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

pub(crate) use wgpu::shaders;
use x2i_cpu::integer::InputBits;

/// `softmax(q kᵀ · scale + mask) v`: `[batch, heads, q_tokens, head_dim]`.
///
/// - `q`: `[batch, heads, q_tokens, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, kv_tokens, head_dim]`, where `heads % kv_heads == 0`
///   (grouped-query attention: query head `h` reads key head `h / (heads / kv_heads)`)
/// - `mask`: added to the scaled scores, `[1 | batch, 1 | heads, q_tokens, kv_tokens]`
///
/// All tensors have one dtype: f32, or f16 on a device that has it.
///
/// The mask holds `f32::MIN` for a masked key, not minus infinity. A row whose keys are all masked then
/// gives the average over all keys, as PyTorch's CPU kernel does, and never a NaN.
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
    let Some(mask) = mask else {
        return attention_rounded([q, k, v], scale, InputBits::Sixteen);
    };
    check_shapes(q.dims(), k.dims(), v.dims(), Some(mask.dims()));
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    let mask = mask.into_dispatch();
    Tensor::from_dispatch(<Dispatch as AttentionOps>::flash_attention_masked(
        q, k, v, mask, scale,
    ))
}

/// [`attention`] of `q`, `k` and `v` without a mask, whose products the CPU may make in bf16.
///
/// # Panics
/// As [`attention`].
pub(crate) fn attention_rounded(
    [q, k, v]: [Tensor<4>; 3],
    scale: f32,
    input_bits: InputBits,
) -> Tensor<4> {
    check_shapes(q.dims(), k.dims(), v.dims(), None);
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(<Dispatch as AttentionOps>::flash_attention(
        q, k, v, scale, input_bits,
    ))
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

/// What a backend may replace; shapes as in the function above, which checks them.
///
/// CUDA has a form of its own: [`library`](crate::library).
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait AttentionOps: Backend {
    /// [`attention_rounded`].
    fn flash_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f32,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let _ = input_bits; // the CPU alone rounds
        composed::attention::<Self>(q, k, v, None, scale)
    }

    /// [`attention`] with a mask.
    fn flash_attention_masked(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        composed::attention::<Self>(q, k, v, Some(mask), scale)
    }
}
