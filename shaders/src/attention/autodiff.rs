//! Gradients through attention without the matrix of all scores: on the way back the scores of some queries are made
//! again, a block at a time.
//!
//! Source: "FlashAttention" (arXiv 2205.14135), section 3: with `P` the softmax and `D` the sum of `dO ∘ O` over a row,
//! `dS = P ∘ (dO Vᵀ - D)`. The forward is the backend's own. Composed, as the default bodies are: a mask, and keys that
//! several heads share; transformers that are trained have neither.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::Slice;

use super::{AttentionOps, composed};

/// Scores that are made at a time: 16 MB.
const SCORES: usize = 4 << 20;

impl<B: AttentionOps, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn flash_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        if q.shape()[1] != k.shape()[1] {
            return composed::attention::<Self>(q, k, v, None, scale);
        }
        let ((q, q_node), (k, k_node), (v, v_node)) =
            (q.into_parts(), k.into_parts(), v.into_parts());
        let inputs = [q.clone(), k.clone(), v.clone()];
        let out = B::flash_attention(q, k, v, scale);
        let prepared = Attention.prepare::<C>([q_node, k_node, v_node]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let state = Saved {
                    inputs,
                    out: out.clone(),
                    scale,
                };
                prepared.finish(state, out)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}

/// What the way back needs.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    /// Queries, keys and values, `[batch, heads, tokens, head_dim]`.
    inputs: [FloatTensor<B>; 3],
    out: FloatTensor<B>,
    scale: f32,
}

#[derive(Debug)]
struct Attention;

impl<B: AttentionOps> Backward<B, 3> for Attention {
    type State = Saved<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let found = gradients::<B>(ops.state, gradient);
        for (node, gradient) in ops.parents.into_iter().zip(found) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// The gradients of queries, keys and values.
fn gradients<B: Backend>(saved: Saved<B>, gradient: FloatTensor<B>) -> [FloatTensor<B>; 3] {
    let Saved {
        inputs: [q, k, v],
        out,
        scale,
    } = saved;
    let (shape, kv_tokens) = (q.shape(), k.shape()[2]);
    let row_scores = (shape[0] * shape[1] * kv_tokens).max(1);
    let rows = (SCORES / row_scores).clamp(1, shape[2].max(1));
    let (mut of_q, mut of_k, mut of_v) = (vec![], None, None);
    for first in (0..shape[2]).step_by(rows) {
        let all = Slice::new(0, None, 1);
        let some = [all, all, Slice::from(first..(first + rows).min(shape[2]))];
        let part = |x: &FloatTensor<B>| B::float_slice(x.clone(), &some);
        let (q, gradient) = (B::float_mul_scalar(part(&q), scale.into()), part(&gradient));
        let sums = B::float_sum_dim(B::float_mul(gradient.clone(), part(&out)), 3);
        let scores = B::float_matmul(q.clone(), B::float_swap_dims(k.clone(), 2, 3));
        let weights = B::softmax(scores, 3);
        let turned = B::float_swap_dims(weights.clone(), 2, 3);
        of_v = add::<B>(of_v, B::float_matmul(turned, gradient.clone()));
        let of_weights = B::float_matmul(gradient, B::float_swap_dims(v.clone(), 2, 3));
        let of_scores = B::float_mul(weights, B::float_sub(of_weights, sums));
        let turned = B::float_swap_dims(of_scores.clone(), 2, 3);
        of_k = add::<B>(of_k, B::float_matmul(turned, q));
        let of_q_part = B::float_matmul(of_scores, k.clone());
        of_q.push(B::float_mul_scalar(of_q_part, scale.into()));
    }
    let none = || B::float_mul_scalar(k.clone(), 0f32.into());
    [
        match of_q.len() {
            0 => q,
            1 => of_q.remove(0),
            _ => B::float_cat(of_q, 2),
        },
        of_k.unwrap_or_else(none),
        of_v.unwrap_or_else(none),
    ]
}

fn add<B: Backend>(sum: Option<FloatTensor<B>>, more: FloatTensor<B>) -> Option<FloatTensor<B>> {
    Some(match sum {
        Some(sum) => B::float_add(sum, more),
        None => more,
    })
}
