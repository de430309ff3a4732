//! Gradients through norm and rotation: one pass of the backend's kernels forth and one back, of which the inputs alone
//! are kept. A norm's weight that learns is composed.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::Slice;

use super::{NormRopeOps, composed};

impl<B: NormRopeOps, C: CheckpointStrategy> NormRopeOps for Autodiff<B, C> {
    fn norm_rope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        if weight.is_tracked() {
            return composed::norm_rope::<Self>(vec![(x, weight)], cos, sin, eps);
        }
        let (x, node) = x.into_parts();
        let [weight, cos, sin] = [weight, cos, sin].map(|tensor| tensor.into_primitive());
        let state = Saved::<B> {
            parts: vec![(x.clone(), weight.clone())],
            angles: [cos.clone(), sin.clone()],
            eps,
        };
        let out = B::norm_rope(x, weight, cos, sin, eps);
        match NormRope.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
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
        if weight.is_tracked() || more_weight.is_tracked() {
            let parts = vec![(x, weight), (more, more_weight)];
            return composed::norm_rope::<Self>(parts, cos, sin, eps);
        }
        let ((x, node), (more, more_node)) = (x.into_parts(), more.into_parts());
        let [weight, more_weight, cos, sin] =
            [weight, more_weight, cos, sin].map(|tensor| tensor.into_primitive());
        let state = Saved::<B> {
            parts: vec![
                (x.clone(), weight.clone()),
                (more.clone(), more_weight.clone()),
            ],
            angles: [cos.clone(), sin.clone()],
            eps,
        };
        let out = B::norm_rope_joint(x, weight, more, more_weight, cos, sin, eps);
        let prepared = NormRope.prepare::<C>([node, more_node]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}

/// What the way back needs.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    /// `x` and weight of every stream.
    parts: Vec<(FloatTensor<B>, FloatTensor<B>)>,
    /// Cosines and sines.
    angles: [FloatTensor<B>; 2],
    eps: f32,
}

#[derive(Debug)]
struct NormRope;

impl<B: NormRopeOps, const N: usize> Backward<B, N> for NormRope {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let Saved { parts, angles, eps } = ops.state;
        let (all, mut first) = (Slice::new(0, None, 1), 0);
        for ((x, weight), node) in parts.into_iter().zip(ops.parents) {
            let tokens = Slice::from(first..first + x.shape()[1]);
            first += x.shape()[1];
            let Some(node) = node else {
                continue;
            };
            let gradient = B::float_slice(gradient.clone(), &[all, all, tokens]);
            let [cos, sin] = angles
                .clone()
                .map(|angles| B::float_slice(angles, &[tokens]));
            let gradient = B::norm_rope_gradient(x, weight, cos, sin, gradient, eps);
            grads.register::<B>(node.id, gradient);
        }
    }
}
