//! Attention on the CPU: one task per block of query rows, in parallel over all heads.
//!
//! The scores of a block against ALL keys fit the cache. Each row is normalised once, without an online
//! softmax, and the full matrix of scores never exists. Both products are GEMMs on strided views: permuted
//! inputs and grouped heads need no copy. In the output's memory the heads of a token lie side by side, so
//! that joining the heads after the attention is free.

use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor, Layout};
use rayon::prelude::*;

use super::tasks::{Task, tasks};
use super::{AttentionOps, bfloat, composed};
use crate::cpu::{all_f32, tensor};
use crate::gemm::matmul;
use x2i_cpu::integer::{InputBits, WIDE};
use x2i_cpu::lanes::bfloat::Bfloat;
use x2i_cpu::lanes::tiles::Amx;
use x2i_cpu::vectorize::{Kernel, exp, fold, multiply_add, vectorize};

/// Scores of a block: 2 MB, which fit the second- or third-level cache.
const BLOCK_SCORES: usize = 512 * 1024;

/// Rows of a block. With more rows the GEMM packs the keys less often; with fewer rows there are enough
/// blocks for all cores.
pub(super) const MAX_ROWS: usize = 128;
pub(super) const MIN_ROWS: usize = 16;

/// Up to this many queries most lanes would be empty.
const FEW_ROWS: usize = 8;

impl AttentionOps for Flex {
    fn flash_attention(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        scale: f32,
        input_bits: InputBits,
    ) -> FlexTensor {
        let tensors = [&q, &k, &v];
        let rounds = rounds(tensors, input_bits);
        match (Amx::new(), Bfloat::new()) {
            (Some(unit), _) if rounds => bfloat::attention(unit, tensors, scale),
            (_, Some(unit)) if rounds => bfloat::attention(unit, tensors, scale),
            _ => attention(q, k, v, None, scale),
        }
    }

    fn flash_attention_masked(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        mask: FlexTensor,
        scale: f32,
    ) -> FlexTensor {
        attention(q, k, v, Some(mask), scale)
    }
}

/// True where attention is as wide as the layers whose inputs are rounded, and reads its rows in place.
fn rounds(tensors: [&FlexTensor; 3], input_bits: InputBits) -> bool {
    let shape = tensors[0].layout().shape();
    let wide = shape[1] * shape[3] >= WIDE && shape[2] > FEW_ROWS && shape[0] > 0;
    let in_rows = tensors
        .iter()
        .all(|tensor| tensor.layout().strides()[3] == 1);
    input_bits == InputBits::AsWeights && wide && in_rows && all_f32(tensors)
}

fn attention(
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    mask: Option<FlexTensor>,
    scale: f32,
) -> FlexTensor {
    let shape = q.layout().shape().clone();
    if !all_f32([&q, &k, &v].into_iter().chain(&mask)) || shape.num_elements() == 0 {
        return composed::attention::<Flex>(q, k, v, mask, scale);
    }
    let (heads, q_tokens, head_dim) = (shape[1], shape[2], shape[3]);
    let (kv_heads, kv_tokens) = (k.layout().shape()[1], k.layout().shape()[2]);
    let rows = (BLOCK_SCORES / kv_tokens).clamp(MIN_ROWS, MAX_ROWS);
    let mask = mask.map(Mask::new);

    let mut out = vec![0.0; shape.num_elements()];
    let tasks = tasks(&mut out, [heads, q_tokens, head_dim], rows);
    tasks.into_par_iter().for_each(|task| {
        let Task {
            batch,
            head,
            first,
            out,
        } = task;
        let kv_head = head / (heads / kv_heads);
        let q = matrix(&q, [batch, head, first], [out.len(), head_dim]);
        let k = matrix(&k, [batch, kv_head, 0], [kv_tokens, head_dim]);
        let v = matrix(&v, [batch, kv_head, 0], [kv_tokens, head_dim]);

        let mut scores = matmul(q, k.transpose(0, 1)); // [rows, kv_tokens]
        let mut sums = vec![0.0; out.len()];
        let masks = mask.as_ref().map(|mask| mask.rows(batch, head, first));
        vectorize(Exponentials {
            scores: scores.storage_mut(),
            masks,
            sums: &mut sums,
            scale,
        });
        let product = matmul(scores, v); // [rows, head_dim]
        let product = product.storage::<f32>().chunks_exact(head_dim);
        for ((out, product), sum) in out.into_iter().zip(product).zip(sums) {
            for (out, product) in out.iter_mut().zip(product) {
                *out = product / sum;
            }
        }
    });
    let out = tensor(out, [shape[0], q_tokens, heads, head_dim]);
    out.transpose(1, 2) // [batch, heads, q_tokens, head_dim]
}

/// A view of `[rows, columns]` from `[batch, head, token]` on.
pub(super) fn matrix(tensor: &FlexTensor, start: [usize; 3], shape: [usize; 2]) -> FlexTensor {
    let strides = tensor.layout().strides();
    let offset: isize = start
        .iter()
        .zip(strides)
        .map(|(&i, &s)| i as isize * s)
        .sum();
    let offset = tensor.layout().start_offset().strict_add_signed(offset);
    let layout = Layout::new(Shape::new(shape), strides[2..].to_vec(), offset);
    FlexTensor::from_arc(tensor.data_arc(), layout, tensor.dtype())
}

/// A contiguous mask. The stride of a broadcast axis is zero.
pub(super) struct Mask {
    tensor: FlexTensor,
    strides: [usize; 3],
}

impl Mask {
    pub(super) fn new(tensor: FlexTensor) -> Self {
        let tensor = tensor.to_contiguous();
        let shape = tensor.layout().shape();
        let (batch, heads, q_tokens, kv_tokens) = (shape[0], shape[1], shape[2], shape[3]);
        let head_stride = if heads == 1 { 0 } else { q_tokens * kv_tokens };
        let batch_stride = if batch == 1 {
            0
        } else {
            heads * q_tokens * kv_tokens
        };
        Self {
            strides: [batch_stride, head_stride, kv_tokens],
            tensor,
        }
    }

    /// The rows of a head from query `token` on.
    pub(super) fn rows(&self, batch: usize, head: usize, token: usize) -> &[f32] {
        let [batch_stride, head_stride, kv_tokens] = self.strides;
        let start = batch * batch_stride + head * head_stride + token * kv_tokens;
        &self.tensor.storage::<f32>()[start..]
    }
}

/// Replaces every row of scores by `exp(score · scale + mask - max)`, and stores the sum of each row.
pub(super) struct Exponentials<'a> {
    /// `[rows, kv_tokens]`
    pub(super) scores: &'a mut [f32],
    /// At least `[rows, kv_tokens]`
    pub(super) masks: Option<&'a [f32]>,
    /// `[rows]`
    pub(super) sums: &'a mut [f32],
    pub(super) scale: f32,
}

impl Kernel for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let kv_tokens = self.scores.len() / self.sums.len();
        let rows = self.scores.chunks_exact_mut(kv_tokens).zip(self.sums);
        for (row, (scores, sum)) in rows.enumerate() {
            match self.masks {
                Some(masks) => {
                    for (score, &mask) in scores.iter_mut().zip(&masks[row * kv_tokens..]) {
                        *score = multiply_add(*score, self.scale, mask);
                    }
                }
                None => {
                    for score in scores.iter_mut() {
                        *score *= self.scale;
                    }
                }
            }
            let max = fold(scores, f32::MIN, |a, b| if b > a { b } else { a });
            for score in scores.iter_mut() {
                *score = exp(*score - max);
            }
            *sum = fold(scores, 0.0, |a, b| a + b);
        }
    }
}
