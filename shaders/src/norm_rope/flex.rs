//! Norm and rotation on the CPU: one pass, from the projections straight into the joint tensor.

use burn::tensor::Shape;
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::{NormRopeOps, composed};
use crate::cpu::{Rows, all_f32, tensor};
use x2i_cpu::vectorize::{Kernel, inverse_root_mean_square, vectorize};

impl NormRopeOps for Flex {
    fn norm_rope(
        x: FlexTensor,
        weight: FlexTensor,
        cos: FlexTensor,
        sin: FlexTensor,
        eps: f32,
    ) -> FlexTensor {
        norm_rope(vec![(x, weight)], cos, sin, eps)
    }

    fn norm_rope_joint(
        x: FlexTensor,
        weight: FlexTensor,
        more: FlexTensor,
        more_weight: FlexTensor,
        cos: FlexTensor,
        sin: FlexTensor,
        eps: f32,
    ) -> FlexTensor {
        norm_rope(vec![(x, weight), (more, more_weight)], cos, sin, eps)
    }
}

/// `parts`: `x [batch, tokens, heads * head_dim]` and `weight [head_dim]` of every stream.
fn norm_rope(
    parts: Vec<(FlexTensor, FlexTensor)>,
    cos: FlexTensor,
    sin: FlexTensor,
    eps: f32,
) -> FlexTensor {
    let tensors = parts.iter().flat_map(|(x, weight)| [x, weight]);
    let shape = parts[0].0.layout().shape();
    let (tokens, head_dim) = (cos.layout().shape()[0], cos.layout().shape()[1]);
    let (batch, heads) = (shape[0], shape[2] / head_dim);
    let shape = Shape::new([batch, heads, tokens, head_dim]);
    if !all_f32(tensors.chain([&cos, &sin])) || shape.num_elements() == 0 {
        return composed::norm_rope::<Flex>(parts, cos, sin, eps);
    }
    let parts: Vec<_> = parts
        .into_iter()
        .map(|(x, weight)| (Rows::new(x), weight.to_contiguous()))
        .collect();
    let (cos, sin) = (cos.to_contiguous(), sin.to_contiguous());
    let (cos, sin) = (cos.storage::<f32>(), sin.storage::<f32>());

    let mut out = vec![0.0; shape.num_elements()];
    out.par_chunks_mut(tokens * head_dim)
        .enumerate()
        .for_each(|(head, out)| {
            let (batch, head) = (head / heads, head % heads);
            let rows = parts.iter().flat_map(|(x, weight)| {
                (0..x.tokens()).map(move |token| (x.row(batch, token), weight.storage::<f32>()))
            });
            let angles = cos.chunks_exact(head_dim).zip(sin.chunks_exact(head_dim));
            let rows = rows.zip(angles).zip(out.chunks_exact_mut(head_dim));
            for (((x, weight), (cos, sin)), out) in rows {
                vectorize(NormRope {
                    x: &x[head * head_dim..][..head_dim],
                    weight,
                    cos,
                    sin,
                    eps,
                    out,
                });
            }
        });
    tensor(out, shape)
}

/// One head of one token; all slices `[head_dim]`.
struct NormRope<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for NormRope<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let root = inverse_root_mean_square(self.x, self.eps);
        let x = self.x.as_chunks::<2>().0.iter();
        let weight = self.weight.as_chunks::<2>().0;
        let (cos, sin) = (self.cos.as_chunks::<2>().0, self.sin.as_chunks::<2>().0);
        let inputs = x.zip(weight).zip(cos.iter().zip(sin));
        let out = self.out.as_chunks_mut::<2>().0.iter_mut();
        for (out, ((x, weight), (cos, sin))) in out.zip(inputs) {
            let (even, odd) = (x[0] * root * weight[0], x[1] * root * weight[1]);
            out[0] = even * cos[0] - odd * sin[0];
            out[1] = odd * cos[1] + even * sin[1];
        }
    }
}
