//! Layers that several models share; a layer's field is named as its checkpoint's tensor.

#[cfg(test)]
mod adapted;
mod computed;
mod conv;
mod conv1d;
mod linear;
mod norm;
pub mod rope;
mod sinusoid;
pub(crate) mod t5;

pub(crate) use computed::computed;
pub(crate) use conv::Conv2d;
pub(crate) use conv1d::Conv1d;
pub(crate) use linear::{Bias, Embedding, Linear};
pub(crate) use norm::{GroupNorm, LayerNorm, RmsNorm};
pub(crate) use sinusoid::sinusoid;
pub(crate) use x2i_shaders::{
    Activations, Gated, Heads, Qkv, attention, gated_residual, gelu_tanh, halves_activations,
    joint_attention, matmul, modulated_activations, modulated_layer_norm,
};
pub use x2i_shaders::{
    CPU_VARIANTS, CpuCheck, CpuVariant, Half, InputBits, KernelCheck, Kernels, PEAKS, Peak, Units,
    check_cpu, check_kernels, choose_cpu, choose_kernels, kernels_agree, multiplies,
};
