//! Gradients of attention.
//!
//! With `P = softmax(S)`, `S = q kᵀ · scale + mask`, and `G` the gradient of `P v`: that of `v` is `Pᵀ G`, that of `S` is
//! `D = P · (G vᵀ - rows' sums of P · G vᵀ)`, those of `q` and `k` are `D k · scale` and `Dᵀ q · scale`.
//!
//! The CPU computes `P` again, a block of query rows at a time, so that the matrix of scores never exists.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::AttentionOps;
use super::flex::{Exponentials, MAX_ROWS, MIN_ROWS, Mask, matrix};
use crate::autodiff::{Gradients, Strategy, kept, record};
use crate::cpu::{all_f32, tensor};
use crate::gemm::matmul;
use x2i_cpu::integer::InputBits;
use x2i_cpu::vectorize::{Kernel, dot, vectorize};

/// Scores of a block: 1 MB, of which two are alive at a time.
const BLOCK_SCORES: usize = 256 * 1024;

/// What a backend may replace.
pub(crate) trait AttentionGradients: Backend {
    /// Those of `q`, `k` and `v`, and that of the mask where it is wanted.
    fn attention_backward(
        qkv: [FloatTensor<Self>; 3],
        mask: Option<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
        scale: f32,
        mask_is_wanted: bool,
    ) -> ([FloatTensor<Self>; 3], Option<FloatTensor<Self>>) {
        composed::<Self>(qkv, mask, gradient, scale, mask_is_wanted)
    }
}

fn composed<B: Backend>(
    [q, k, v]: [FloatTensor<B>; 3],
    mask: Option<FloatTensor<B>>,
    gradient: FloatTensor<B>,
    scale: f32,
    mask_is_wanted: bool,
) -> ([FloatTensor<B>; 3], Option<FloatTensor<B>>) {
    let (q_shape, kv_shape) = (q.shape(), k.shape());
    let (batch, heads, q_tokens, head_dim) = (q_shape[0], q_shape[1], q_shape[2], q_shape[3]);
    let (kv_heads, kv_tokens) = (kv_shape[1], kv_shape[2]);
    // As in the forward pass: the query heads that share a key head are rows of one matrix.
    let rows = heads / kv_heads * q_tokens;
    let grouped = |x| B::float_reshape(x, Shape::new([batch, kv_heads, rows, head_dim]));
    let [all, by_key_head] = [
        Shape::new([batch, heads, q_tokens, kv_tokens]),
        Shape::new([batch, kv_heads, rows, kv_tokens]),
    ];
    let (q, gradient) = (
        B::float_mul_scalar(grouped(q), scale.into()),
        grouped(gradient),
    );
    let scores = B::float_matmul(q.clone(), B::float_swap_dims(k.clone(), 2, 3));
    let scores = B::float_reshape(scores, all.clone());
    let mask_shape = mask.as_ref().map(|mask| mask.shape());
    let scores = match mask {
        Some(mask) => B::float_add(scores, mask),
        None => scores,
    };
    let weights = B::float_reshape(B::softmax(scores, 3), by_key_head);
    let of_v = B::float_matmul(B::float_swap_dims(weights.clone(), 2, 3), gradient.clone());
    let of_weights = B::float_matmul(gradient, B::float_swap_dims(v, 2, 3));
    let sums = B::float_sum_dim(B::float_mul(weights.clone(), of_weights.clone()), 3);
    let of_scores = B::float_mul(weights, B::float_sub(of_weights, sums));
    let of_mask = mask_shape.filter(|_| mask_is_wanted).map(|shape| {
        let mut of_mask = B::float_reshape(of_scores.clone(), all);
        for axis in 0..2 {
            if shape[axis] == 1 {
                of_mask = B::float_sum_dim(of_mask, axis);
            }
        }
        of_mask
    });
    let of_k = B::float_matmul(B::float_swap_dims(of_scores.clone(), 2, 3), q);
    let of_q = B::float_mul_scalar(B::float_matmul(of_scores, k), scale.into());
    ([B::float_reshape(of_q, q_shape), of_k, of_v], of_mask)
}

impl AttentionGradients for CubeBackend {}

impl AttentionGradients for Flex {
    fn attention_backward(
        [q, k, v]: [FlexTensor; 3],
        mask: Option<FlexTensor>,
        gradient: FlexTensor,
        scale: f32,
        mask_is_wanted: bool,
    ) -> ([FlexTensor; 3], Option<FlexTensor>) {
        let f32s = all_f32([&q, &k, &v, &gradient].into_iter().chain(&mask));
        if mask_is_wanted || !f32s || q.layout().num_elements() == 0 {
            return composed::<Self>([q, k, v], mask, gradient, scale, mask_is_wanted);
        }
        let (q_shape, kv_shape) = (q.layout().shape().clone(), k.layout().shape().clone());
        let (heads, kv_heads) = (q_shape[1], kv_shape[1]);
        let [queries, keys] = [&q_shape, &kv_shape].map(|shape| shape[2] * shape[3]);
        let group = heads / kv_heads;
        let pass = Pass {
            q,
            k,
            v,
            mask: mask.map(Mask::new),
            gradient,
            scale,
        };
        let mut of_q = vec![0.0; q_shape.num_elements()];
        let [mut of_k, mut of_v] = [0, 1].map(|_| vec![0.0; kv_shape.num_elements()]);
        // A task has the queries that share a key head, so that one task adds to its keys.
        let tasks = of_q.par_chunks_mut(group * queries).enumerate();
        tasks
            .zip(of_k.par_chunks_mut(keys))
            .zip(of_v.par_chunks_mut(keys))
            .for_each(|(((task, of_q), of_k), of_v)| {
                let (batch, kv_head) = (task / kv_heads, task % kv_heads);
                for (head, of_q) in of_q.chunks_mut(queries).enumerate() {
                    let head = kv_head * group + head;
                    pass.add_head([batch, head, kv_head], of_q, [of_k, of_v]);
                }
            });
        let of_q = tensor(of_q, q_shape);
        let [of_k, of_v] = [of_k, of_v].map(|values| tensor(values, kv_shape.clone()));
        ([of_q, of_k, of_v], None)
    }
}

/// The inputs of the pass.
struct Pass {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    mask: Option<Mask>,
    gradient: FlexTensor,
    scale: f32,
}

impl Pass {
    /// Writes the gradient of a head's queries, `[q_tokens, head_dim]`, and adds those of its keys and values.
    fn add_head(
        &self,
        [batch, head, kv_head]: [usize; 3],
        of_q: &mut [f32],
        [of_k, of_v]: [&mut [f32]; 2],
    ) {
        let kv_tokens = self.k.layout().shape()[2];
        let head_dim = self.k.layout().shape()[3];
        let [k, v] =
            [&self.k, &self.v].map(|x| matrix(x, [batch, kv_head, 0], [kv_tokens, head_dim]));
        let rows = (BLOCK_SCORES / kv_tokens).clamp(MIN_ROWS, MAX_ROWS);
        for (block, of_q) in of_q.chunks_mut(rows * head_dim).enumerate() {
            let (first, count) = (block * rows, of_q.len() / head_dim);
            let [q, gradient] = [&self.q, &self.gradient]
                .map(|x| matrix(x, [batch, head, first], [count, head_dim]));
            let mut weights = matmul(q.clone(), k.clone().transpose(0, 1)); // [count, kv_tokens]
            let mut sums = vec![0.0; count];
            let masks = self.mask.as_ref().map(|mask| mask.rows(batch, head, first));
            vectorize(Exponentials {
                scores: weights.storage_mut(),
                masks,
                sums: &mut sums,
                scale: self.scale,
            });
            let mut of_scores = matmul(gradient.clone(), v.clone().transpose(0, 1));
            vectorize(Scores {
                weights: weights.storage_mut(),
                sums: &sums,
                of_scores: of_scores.storage_mut(),
                scale: self.scale,
            });
            add(of_v, &matmul(weights.transpose(0, 1), gradient));
            of_q.copy_from_slice(matmul(of_scores.clone(), k.clone()).storage());
            add(of_k, &matmul(of_scores.transpose(0, 1), q));
        }
    }
}

/// Adds a contiguous matrix.
fn add(out: &mut [f32], matrix: &FlexTensor) {
    let matrix = matrix.storage::<f32>();
    out.iter_mut().zip(matrix).for_each(|(out, x)| *out += x);
}

/// Divides the exponentials by their rows' sums, and makes the gradients of the scores, times the scale, of those of
/// the weights.
struct Scores<'a> {
    /// `[rows, kv_tokens]`
    weights: &'a mut [f32],
    /// `[rows]`
    sums: &'a [f32],
    /// `[rows, kv_tokens]`
    of_scores: &'a mut [f32],
    scale: f32,
}

impl Kernel for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let kv_tokens = self.weights.len() / self.sums.len();
        let rows = self.weights.chunks_exact_mut(kv_tokens);
        let rows = rows.zip(self.of_scores.chunks_exact_mut(kv_tokens));
        for ((weights, of_scores), sum) in rows.zip(self.sums) {
            let inverse = sum.recip();
            for weight in weights.iter_mut() {
                *weight *= inverse;
            }
            let along = dot(weights, of_scores);
            for (of_score, weight) in of_scores.iter_mut().zip(weights) {
                *of_score = *weight * (*of_score - along) * self.scale;
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Attention {
    scale: f32,
}

impl<B: AttentionGradients> Gradients<B, 3> for Attention {
    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 3],
        gradient: FloatTensor<B>,
        _: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        let qkv = kept(inputs);
        let (found, _) = B::attention_backward(qkv, None, gradient, self.scale, false);
        found.map(Some)
    }
}

impl<B: AttentionGradients> Gradients<B, 4> for Attention {
    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 4],
        gradient: FloatTensor<B>,
        wanted: [bool; 4],
    ) -> [Option<FloatTensor<B>>; 4] {
        let [q, k, v, mask] = kept(inputs);
        let (found, mask) =
            B::attention_backward([q, k, v], Some(mask), gradient, self.scale, wanted[3]);
        let [q, k, v] = found.map(Some);
        [q, k, v, mask]
    }
}

impl<B: AttentionOps + AttentionGradients, C: Strategy> AttentionOps for Autodiff<B, C> {
    fn flash_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f32,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        record::<B, C, _, _>(Attention { scale }, [q, k, v], |[q, k, v]| {
            B::flash_attention(q, k, v, scale, input_bits)
        })
    }

    fn flash_attention_masked(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        record::<B, C, _, _>(Attention { scale }, [q, k, v, mask], |[q, k, v, mask]| {
            B::flash_attention_masked(q, k, v, mask, scale)
        })
    }
}
