//! Attention made of burn operations: differentiable, and correct on every backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;

pub(crate) fn attention<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    mask: Option<FloatTensor<B>>,
    scale: f32,
) -> FloatTensor<B> {
    let (q_shape, kv_shape) = (q.shape(), k.shape());
    let (batch, heads, q_tokens, head_dim) = (q_shape[0], q_shape[1], q_shape[2], q_shape[3]);
    let (kv_heads, kv_tokens) = (kv_shape[1], kv_shape[2]);
    // The query heads that share a key head become rows of one matrix: the keys are not expanded.
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
