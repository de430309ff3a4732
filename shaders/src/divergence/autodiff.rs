//! Gradients of the divergence: the backend's own kernel makes them of the inputs.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use super::DivergenceOps;

impl<B: DivergenceOps, C: CheckpointStrategy> DivergenceOps for Autodiff<B, C> {
    fn divergence(
        student: FloatTensor<Self>,
        teacher: FloatTensor<Self>,
        temperature: f32,
    ) -> FloatTensor<Self> {
        let (student, node) = student.into_parts();
        let teacher = teacher.into_primitive();
        let state = (student.clone(), teacher.clone(), temperature);
        let out = B::divergence(student, teacher, temperature);
        match Divergence.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}

#[derive(Debug)]
struct Divergence;

impl<B: DivergenceOps> Backward<B, 1> for Divergence {
    /// Student, teacher, temperature.
    type State = (FloatTensor<B>, FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let ([node], (student, teacher, temperature)) = (ops.parents, ops.state);
        if let Some(node) = node {
            let gradient = B::divergence_gradient(student, teacher, gradient, temperature);
            grads.register::<B>(node.id, gradient);
        }
    }
}
