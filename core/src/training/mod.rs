//! Training: losses, trainable parameters, optimizers, schedules, and one step of AlignNet, LightControl or a LoRA.
//!
//! The graph of inference is the graph of training: a model is loaded through a [`Scope`](crate::weights::Scope) that
//! gives [`Leaves`](crate::weights::Leaves) in place of the tensors that learn. [`Parameters`] are their f32 masters
//! on the host, by our names; a step gives [`Gradients`] by the same names; an [`Optimizer`](optimizer::Optimizer)
//! changes the masters. The transformer is walked block by block ([`Checkpoints`]): what it holds for the way back
//! is the caller's choice.
//!
//! Sources: X2I's train/ and lightcontrol/ for what is learnt, with the errors of those scripts left out (accumulation
//! is a mean, schedules count updates, weights and losses are f32); diffusers' trainers for flow matching and LoRA.
//! Not here: files, data, the clock, several machines. Not in a browser, whose burn records no gradients.

pub mod align;
pub mod control;
mod gradients;
pub mod initial;
pub mod lora;
pub mod loss;
pub mod noise;
pub mod optimizer;
mod parameters;
pub mod published;
pub mod schedule;
mod walk;

pub use gradients::Gradients;
pub use parameters::{Parameter, Parameters};
pub use schedule::Schedule;
pub use walk::Checkpoints;
