//! Gradients of norm and rotation: the rotation back, then those of the norm.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_flex::{Flex, FlexTensor};

use super::NormRopeOps;
use crate::autodiff::{Gradients, Strategy, kept, record};
use crate::cpu::{Rows, all_f32, each_row, sum_rows, tensor};
use crate::norm::backward::{AddWeight, RmsNormBackward, norm_backward, normed};
use x2i_cpu::vectorize::{Kernel, vectorize};

/// Queries or keys of a stream, `[batch, tokens, heads * head_dim]`, and the weight of their norm, `[head_dim]`.
type Part<B> = (FloatTensor<B>, FloatTensor<B>);

/// Their gradients; that of the weight where it is wanted.
type PartGradients<B> = (FloatTensor<B>, Option<FloatTensor<B>>);

/// What a backend may replace.
pub(crate) trait NormRopeGradients: Backend {
    /// Those of each part; `gradient` is `[batch, heads, tokens, head_dim]`.
    fn norm_rope_backward(
        parts: Vec<Part<Self>>,
        [cos, sin]: [FloatTensor<Self>; 2],
        gradient: FloatTensor<Self>,
        eps: f32,
        weights_are_wanted: bool,
    ) -> Vec<PartGradients<Self>> {
        let turned = turned_back::<Self>(gradient, cos, sin);
        let turned = Self::float_swap_dims(turned, 1, 2); // [batch, tokens, heads, head_dim]
        let mut first = 0;
        let parts = parts.into_iter().map(|(x, weight)| {
            let (shape, head_dim) = (x.shape(), weight.shape()[0]);
            let heads = Shape::new([shape[0], shape[1], shape[2] / head_dim, head_dim]);
            let last = first + shape[1] as isize;
            let tokens = Slice::new(first, Some(last), 1);
            first = last;
            let gradient = Self::float_slice(turned.clone(), &[Slice::new(0, None, 1), tokens]);
            let (normed, inverse) = normed::<Self>(Self::float_reshape(x, heads), eps);
            let of_weight = weights_are_wanted.then(|| {
                let products = Self::float_mul(gradient.clone(), normed.clone());
                let rows = shape.num_elements() / head_dim;
                let products = Self::float_reshape(products, Shape::new([rows, head_dim]));
                Self::float_reshape(Self::float_sum_dim(products, 0), Shape::new([head_dim]))
            });
            let weight = Self::float_reshape(weight, Shape::new([1, 1, 1, head_dim]));
            let gradient = Self::float_mul(gradient, weight);
            let of_x = norm_backward::<Self>(normed, inverse, gradient);
            (Self::float_reshape(of_x, shape), of_weight)
        });
        parts.collect()
    }
}

/// The gradient before the rotation: the transposed matrix of each pair of channels.
fn turned_back<B: Backend>(
    gradient: FloatTensor<B>,
    cos: FloatTensor<B>,
    sin: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = gradient.shape();
    let (batch, heads, tokens, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let angles = |angles| B::float_reshape(angles, Shape::new([1, 1, tokens, head_dim]));
    let across = B::float_mul(gradient.clone(), angles(sin));
    let pairs = Shape::new([batch * heads, tokens, head_dim / 2, 2]);
    let pairs = B::float_reshape(across, pairs);
    let channel = |index: isize| {
        let all = Slice::new(0, None, 1);
        let one = Slice::new(index, Some(index + 1), 1);
        B::float_slice(pairs.clone(), &[all, all, all, one])
    };
    let turned = B::float_cat(vec![channel(1), B::float_neg(channel(0))], 3);
    let along = B::float_mul(gradient, angles(cos));
    B::float_add(along, B::float_reshape(turned, shape))
}

impl NormRopeGradients for CubeBackend {}

impl NormRopeGradients for Flex {
    fn norm_rope_backward(
        parts: Vec<Part<Self>>,
        [cos, sin]: [FlexTensor; 2],
        gradient: FlexTensor,
        eps: f32,
        weights_are_wanted: bool,
    ) -> Vec<PartGradients<Self>> {
        let tensors = parts.iter().flat_map(|(x, weight)| [x, weight]);
        let all = all_f32(tensors.chain([&cos, &sin, &gradient]));
        assert!(all, "gradients are f32");
        let shape = gradient.layout().shape().clone();
        let turned = Turned {
            heads: shape[1],
            tokens: shape[2],
            head_dim: shape[3],
            gradient: gradient.to_contiguous(),
            cos: cos.to_contiguous(),
            sin: sin.to_contiguous(),
        };
        let mut first = 0;
        let parts = parts.into_iter().map(|(x, weight)| {
            let (shape, head_dim) = (x.layout().shape().clone(), turned.head_dim);
            let (batch, tokens, width) = (shape[0], shape[1], shape[2]);
            let (x, weight, turned) = (Rows::new(x), weight.to_contiguous(), &turned);
            let weight = weight.storage::<f32>();
            let start = first;
            first += tokens;
            let of_weight = weights_are_wanted.then(|| {
                let sums = sum_rows([1, batch * tokens, head_dim], |row, sums| {
                    let mut gradient = vec![0.0; head_dim];
                    for (head, x) in x.at(row).chunks_exact(head_dim).enumerate() {
                        turned.write(row / tokens, head, start + row % tokens, &mut gradient);
                        vectorize(AddWeight {
                            x,
                            gradient: &gradient,
                            eps,
                            sums,
                        });
                    }
                });
                tensor(sums, [head_dim])
            });
            let of_x = each_row(batch * tokens, width, |row, out| {
                let mut gradient = vec![0.0; head_dim];
                let heads = x.at(row).chunks_exact(head_dim);
                for (head, (x, out)) in heads.zip(out.chunks_exact_mut(head_dim)).enumerate() {
                    turned.write(row / tokens, head, start + row % tokens, &mut gradient);
                    vectorize(RmsNormBackward {
                        x,
                        weight,
                        gradient: &gradient,
                        eps,
                        out,
                    });
                }
            });
            (tensor(of_x, shape), of_weight)
        });
        parts.collect()
    }
}

/// The gradient before the rotation.
struct Turned {
    heads: usize,
    tokens: usize,
    head_dim: usize,
    /// `[batch, heads, tokens, head_dim]`
    gradient: FlexTensor,
    /// `[tokens, head_dim]`
    cos: FlexTensor,
    /// `[tokens, head_dim]`
    sin: FlexTensor,
}

impl Turned {
    /// Writes that of a head of a token, `[head_dim]`.
    fn write(&self, batch: usize, head: usize, token: usize, out: &mut [f32]) {
        let row = |tensor: &FlexTensor, row: usize| -> std::ops::Range<usize> {
            let start = tensor.layout().start_offset() + row * self.head_dim;
            start..start + self.head_dim
        };
        let at = (batch * self.heads + head) * self.tokens + token;
        vectorize(TurnBack {
            gradient: &self.gradient.storage::<f32>()[row(&self.gradient, at)],
            cos: &self.cos.storage::<f32>()[row(&self.cos, token)],
            sin: &self.sin.storage::<f32>()[row(&self.sin, token)],
            out,
        });
    }
}

/// One head of one token; all slices `[head_dim]`.
struct TurnBack<'a> {
    gradient: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for TurnBack<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (cos, sin) = (self.cos.as_chunks::<2>().0, self.sin.as_chunks::<2>().0);
        let gradient = self.gradient.as_chunks::<2>().0.iter();
        let out = self.out.as_chunks_mut::<2>().0.iter_mut();
        for (out, (gradient, (cos, sin))) in out.zip(gradient.zip(cos.iter().zip(sin))) {
            out[0] = gradient[0] * cos[0] + gradient[1] * sin[1];
            out[1] = gradient[1] * cos[1] - gradient[0] * sin[0];
        }
    }
}

#[derive(Debug, Clone)]
struct NormRope {
    eps: f32,
}

impl<B: NormRopeGradients> Gradients<B, 4> for NormRope {
    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 4],
        gradient: FloatTensor<B>,
        wanted: [bool; 4],
    ) -> [Option<FloatTensor<B>>; 4] {
        let [x, weight, cos, sin] = kept(inputs);
        let parts = vec![(x, weight)];
        let found = B::norm_rope_backward(parts, [cos, sin], gradient, self.eps, wanted[1]);
        let mut found = found.into_iter();
        let (x, weight) = found.next().expect("a part");
        [Some(x), weight, None, None]
    }
}

impl<B: NormRopeGradients> Gradients<B, 6> for NormRope {
    fn gradients(
        self,
        inputs: [Option<FloatTensor<B>>; 6],
        gradient: FloatTensor<B>,
        wanted: [bool; 6],
    ) -> [Option<FloatTensor<B>>; 6] {
        let [x, weight, more, more_weight, cos, sin] = kept(inputs);
        let parts = vec![(x, weight), (more, more_weight)];
        let weights = wanted[1] || wanted[3];
        let found = B::norm_rope_backward(parts, [cos, sin], gradient, self.eps, weights);
        let mut found = found.into_iter();
        let [(x, weight), (more, more_weight)] = [0, 1].map(|_| found.next().expect("two parts"));
        [Some(x), weight, Some(more), more_weight, None, None]
    }
}

impl<B: NormRopeOps + NormRopeGradients, C: Strategy> NormRopeOps for Autodiff<B, C> {
    fn norm_rope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let inputs = [x, weight, cos, sin];
        record::<B, C, _, _>(NormRope { eps }, inputs, |[x, weight, cos, sin]| {
            B::norm_rope(x, weight, cos, sin, eps)
        })
    }

    fn norm_rope_joint(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        more: FloatTensor<Self>,
        more_weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let inputs = [x, weight, more, more_weight, cos, sin];
        record::<B, C, _, _>(NormRope { eps }, inputs, |inputs| {
            let [x, weight, more, more_weight, cos, sin] = inputs;
            B::norm_rope_joint(x, weight, more, more_weight, cos, sin, eps)
        })
    }
}
