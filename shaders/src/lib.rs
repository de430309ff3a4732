//! Hand-written kernels behind burn's backend extension.
//!
//! A family of operations is a file and its folder. `gelu.rs` has the public functions, and the trait that
//! a backend implements; `gelu/composed.rs` has the trait's default bodies, made of burn operations;
//! `gelu/flex.rs` and `gelu/wgpu.rs` implement it for the CPU and for wgpu devices that compile WGSL. The
//! default bodies are differentiable and correct on every backend, so that SPIR-V and autodiff need no
//! code of their own. Products and attention of a GPU that runs no WGSL (CUDA) are in `library.rs`. Every kernel has a
//! naive twin in [`mod@reference`], with which the tests compare it.
//!
//! Two files compose families: `product.rs` has products with what follows them, `joint_attention.rs` the attention of
//! FLUX's blocks. Where a device multiplies in f16 they run kernels of their own, see `activations.rs`.
//!
//! A new family needs such a file, and its lines below: `mod`, `pub use`, and one in [`wgsl_modules`] if it
//! has shaders.
//!
//! WebGPU guarantees neither subgroups nor half precision. Kernels use subgroups where the adapter has them
//! and is faster with them, and half precision where a tensor has it. Left out on purpose: gradients with
//! respect to a quantized weight, which is frozen.
mod activations;
mod attention;
mod autodiff;
mod check;
mod conv2d;
mod cooperative;
mod cpu;
#[cfg(not(target_family = "wasm"))]
mod divergence;
mod empty;
mod gelu;
mod gemm;
mod gpu;
mod group_norm;
mod joint_attention;
mod kernels;
#[cfg(not(target_family = "wasm"))]
mod library;
mod linear;
mod norm;
mod norm_rope;
mod product;
mod qmatmul;
pub mod reference;
mod residual;
mod units;
#[cfg(test)]
mod variants;
mod wgsl;

pub use activations::{Activations, halves_activations};
pub use attention::attention;
pub use check::{CpuCheck, KernelCheck, check_cpu, check_kernels, kernels_agree};
pub use conv2d::{conv2d, halving_conv2d, upsample_conv2d};
#[doc(hidden)]
pub use cooperative::assume_subgroups;
#[cfg(not(target_family = "wasm"))]
pub use divergence::divergence;
pub use gelu::{gelu_tanh, gelu_tanh_after};
pub use gpu::{is_gpu, largest_buffer, runs_wgsl};
pub use group_norm::{Activation, group_moments, group_normalize};
pub use joint_attention::{Qkv, joint_attention};
pub use kernels::{Half, Kernels, choose_kernels, multiplies};
pub use linear::{linear, linear_rounded, matmul, takes_halves};
pub use norm::{modulated_layer_norm, rms_norm};
pub use norm_rope::{Heads, norm_rope};
pub use product::{
    Gated, Weight, modulated_activations, product, product_gated, product_gelu, product_gelu_after,
};
pub use qmatmul::{BlockQuantized, QuantError, device_len, qmatmul, words_len};
pub use residual::gated_residual;
pub use units::{Units, tell_subgroups};
pub use x2i_cpu::formats::BlockType;
pub use x2i_cpu::integer::InputBits;
#[cfg(target_family = "wasm")]
pub use x2i_cpu::processor::tell_relaxed_simd;
pub use x2i_cpu::processor::{CPU_VARIANTS, CpuUnit, CpuVariant, PEAKS, Peak, choose_cpu};

/// Every WGSL module that this crate may launch, as `(name, source)`: for validation without a device.
///
/// The name is the file's stem and the values of its constants; no two modules share one.
pub fn wgsl_modules() -> impl Iterator<Item = (String, String)> {
    attention::shaders()
        .chain(conv2d::shaders())
        .chain(cooperative::shaders())
        .chain(gelu::shaders())
        .chain(group_norm::shaders())
        .chain(linear::shaders())
        .chain(norm::shaders())
        .chain(norm_rope::shaders())
        .chain(qmatmul::shaders())
        .chain(residual::shaders())
        .map(|shader| (shader.label(), shader.render()))
}
