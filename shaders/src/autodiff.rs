//! Gradients through the operations; on native targets alone, because a browser does not train.

/// Implements an operation trait for `Autodiff` by its default bodies, which are made of differentiable
/// burn operations.
///
/// Every operation trait needs this impl, and only the name of the trait differs. `qmatmul` writes its own,
/// because its weight is not differentiable.
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
