//! Gradients through the gated residual, whose forward is the backend's kernel.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::ResidualOps;

impl<B: ResidualOps, C: CheckpointStrategy> ResidualOps for Autodiff<B, C> {
    fn gated_residual(
        x: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (learns_gate, learns_y) = (gate.is_tracked(), y.is_tracked());
        let ((x, x_node), (gate, gate_node)) = (x.into_parts(), gate.into_parts());
        let (y, y_node) = y.into_parts();
        let state = (
            learns_y.then(|| gate.clone()),
            learns_gate.then(|| y.clone()),
        );
        let out = B::gated_residual(x, gate, y);
        let prepared = Residual.prepare::<C>([x_node, gate_node, y_node]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}

#[derive(Debug)]
struct Residual;

impl<B: ResidualOps> Backward<B, 3> for Residual {
    /// The gate, where `y` is recorded; `y`, where the gate is.
    type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([x_node, gate_node, y_node], (gate, y)) = (ops.parents, ops.state);
        if let Some((node, y)) = gate_node.zip(y) {
            let sum = B::float_sum_dim(B::float_mul(gradient.clone(), y), 1);
            grads.register::<B>(node.id, sum);
        }
        if let Some((node, gate)) = y_node.zip(gate) {
            grads.register::<B>(node.id, B::float_mul(gradient.clone(), gate));
        }
        if let Some(node) = x_node {
            grads.register::<B>(node.id, gradient);
        }
    }
}
