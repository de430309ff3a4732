//! Training: losses, gradients, updates and resumed runs.

pub(super) mod align;
pub(super) mod control;
pub(super) mod distillation;
pub(super) mod lora;
mod replay;
mod settings;
