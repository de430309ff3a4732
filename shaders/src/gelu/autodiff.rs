//! Gradients through GELU: one pass forth and one back, of which the inputs alone are kept.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, TensorMetadata};
use burn::tensor::Slice;

use super::GeluOps;

impl<B: GeluOps, C: CheckpointStrategy> GeluOps for Autodiff<B, C> {
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match Gelu.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(x.clone(), B::gelu_tanh(x)),
            OpsKind::UnTracked(prepared) => prepared.finish(B::gelu_tanh(x)),
        }
    }

    fn gelu_tanh_after(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((left, left_node), (right, right_node)) = (left.into_parts(), right.into_parts());
        let nodes = [left_node, right_node];
        match After.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                prepared.finish(right.clone(), B::gelu_tanh_after(left, right))
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::gelu_tanh_after(left, right)),
        }
    }
}

#[derive(Debug)]
struct Gelu;

impl<B: GeluOps> Backward<B, 1> for Gelu {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let [node] = ops.parents;
        if let Some(node) = node {
            grads.register::<B>(node.id, B::gelu_tanh_gradient(ops.state, gradient));
        }
    }
}

#[derive(Debug)]
struct After;

impl<B: GeluOps> Backward<B, 2> for After {
    /// The right side.
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (width, right) = (gradient.shape()[2], ops.state.shape()[2]);
        let all = Slice::new(0, None, 1);
        let part = |range: std::ops::Range<usize>| {
            B::float_slice(gradient.clone(), &[all, all, Slice::from(range)])
        };
        let [left_node, right_node] = ops.parents;
        if let Some(node) = left_node {
            grads.register::<B>(node.id, part(0..width - right));
        }
        if let Some(node) = right_node {
            let gradient = B::gelu_tanh_gradient(ops.state, part(width - right..width));
            grads.register::<B>(node.id, gradient);
        }
    }
}
