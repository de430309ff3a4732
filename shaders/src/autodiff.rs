//! Gradients through the operations; on native targets alone, because a browser does not train.
//!
//! Most operations are one node of the tape, with a backward pass of their own: it keeps the inputs alone and computes
//! the rest again. Each has a trait of gradients beside its trait of operations, whose default bodies are made of burn
//! operations; the CPU has kernels.

/// Implements an operation trait for `Autodiff` by its default bodies, which are made of differentiable
/// burn operations.
macro_rules! differentiable {
    ($operations:ident) => {
        #[cfg(not(target_family = "wasm"))]
        impl<B, C> $operations for burn::backend::Autodiff<B, C>
        where
            B: burn::backend::Backend,
            C: burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy,
        {
        }
    };
}

pub(crate) use differentiable;

#[cfg(not(target_family = "wasm"))]
pub(crate) use node::{Gradients, Strategy, kept, record};

#[cfg(not(target_family = "wasm"))]
mod node {
    use std::array::from_fn;
    use std::fmt::Debug;
    use std::marker::PhantomData;

    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    pub(crate) use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy as Strategy;
    use burn::backend::autodiff::grads::Gradients as Tape;
    use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{Autodiff, Backend};

    /// The backward pass of an operation of `N` inputs.
    pub(crate) trait Gradients<B: Backend, const N: usize>:
        Debug + Clone + Send + 'static
    {
        /// Which inputs the backward pass reads; the others are not kept.
        fn reads(&self, _tracked: [bool; N]) -> [bool; N] {
            [true; N]
        }

        /// The gradients of the inputs, from that of the output; perhaps `None` for those that are not `wanted`.
        fn gradients(
            self,
            inputs: [Option<FloatTensor<B>>; N],
            gradient: FloatTensor<B>,
            wanted: [bool; N],
        ) -> [Option<FloatTensor<B>>; N];
    }

    /// A node of the tape.
    #[derive(Debug)]
    struct Node<G>(PhantomData<G>);

    impl<B: Backend, G: Gradients<B, N>, const N: usize> Backward<B, N> for Node<G> {
        type State = (G, [Option<FloatTensor<B>>; N]);

        fn backward(self, ops: Ops<Self::State, N>, tape: &mut Tape, _: &mut Checkpointer) {
            let gradient = tape.consume::<B>(&ops.node);
            let (operation, inputs) = ops.state;
            let wanted = ops.parents.each_ref().map(Option::is_some);
            let found = operation.gradients(inputs, gradient, wanted);
            for (parent, found) in ops.parents.into_iter().zip(found) {
                if let (Some(parent), Some(found)) = (parent, found) {
                    tape.register::<B>(parent.id, found);
                }
            }
        }
    }

    /// Inputs that are all kept.
    pub(crate) fn kept<T, const N: usize>(inputs: [Option<T>; N]) -> [T; N] {
        inputs.map(|input| input.expect("the backward pass reads it"))
    }

    /// Runs `forward` on the inputs as one node, whose backward pass is that of `operation`.
    pub(crate) fn record<B, C, G, const N: usize>(
        operation: G,
        inputs: [FloatTensor<Autodiff<B, C>>; N],
        forward: impl FnOnce([FloatTensor<B>; N]) -> FloatTensor<B>,
    ) -> FloatTensor<Autodiff<B, C>>
    where
        B: Backend,
        C: Strategy,
        G: Gradients<B, N>,
    {
        let nodes = inputs.each_ref().map(|input| input.node());
        let reads = operation.reads(inputs.each_ref().map(|input| input.is_tracked()));
        let inputs = inputs.map(|input| input.into_primitive());
        let node = Node(PhantomData).prepare::<C>(nodes).compute_bound();
        match node.stateful() {
            OpsKind::Tracked(node) => {
                let kept = from_fn(|at| reads[at].then(|| inputs[at].clone()));
                let out = forward(inputs);
                node.finish((operation, kept), out)
            }
            OpsKind::UnTracked(node) => node.finish(forward(inputs)),
        }
    }
}
