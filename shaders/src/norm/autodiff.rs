//! Gradients through the norms. LayerNorm with a modulation runs the backend's kernels both ways and keeps its input
//! alone; RMSNorm is composed, since no transformer that is trained has it outside of [`norm_rope`](crate::norm_rope).

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::NormOps;

impl<B: NormOps, C: CheckpointStrategy> NormOps for Autodiff<B, C> {
    fn modulated_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (scale, scale_node)) = (x.into_parts(), scale.into_parts());
        let (shift, shift_node) = shift.into_parts();
        let state = Saved::<B> {
            x: x.clone(),
            scale: scale.clone(),
            eps,
        };
        let out = B::modulated_layer_norm(x, scale, shift, eps);
        let prepared = LayerNorm.prepare::<C>([x_node, scale_node, shift_node]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}

/// What the way back needs.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    eps: f32,
}

#[derive(Debug)]
struct LayerNorm;

impl<B: NormOps> Backward<B, 3> for LayerNorm {
    type State = Saved<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let Saved { x, scale, eps } = ops.state;
        let [x_node, scale_node, shift_node] = ops.parents;
        if let Some(node) = scale_node {
            let zeros = B::float_mul_scalar(scale.clone(), 0f32.into());
            let normed = B::modulated_layer_norm(x.clone(), zeros.clone(), zeros, eps);
            let sum = B::float_sum_dim(B::float_mul(normed, gradient.clone()), 1);
            grads.register::<B>(node.id, sum);
        }
        if let Some(node) = shift_node {
            grads.register::<B>(node.id, B::float_sum_dim(gradient.clone(), 1));
        }
        if let Some(node) = x_node {
            let gradient = B::modulated_layer_norm_gradient(x, scale, gradient, eps);
            grads.register::<B>(node.id, gradient);
        }
    }
}
