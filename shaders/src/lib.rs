//! Hand-written kernels behind burn's backend extension.
//!
//! A family of operations is a file and its folder. `gelu.rs` has the public functions, and the trait that
//! a backend implements; `gelu/composed.rs` has the trait's default bodies, made of burn operations;
//! `gelu/flex.rs` and `gelu/wgpu.rs` implement it for the CPU and for wgpu devices that compile WGSL. The
//! default bodies are differentiable and correct on every backend, so that CUDA, SPIR-V and autodiff need no
//! code of their own. Every kernel has a naive twin in [`mod@reference`], with which the tests compare it.
//!
//! A new family needs such a file, and its lines below: `mod`, `pub use`, and one in [`wgsl_modules`] if it
//! has shaders.
//!
//! WebGPU guarantees neither subgroups nor half precision. Kernels use subgroups where the adapter has them
//! and is faster with them, and half precision where a tensor has it. Left out on purpose: gradients with
//! respect to a quantized weight, which is frozen.

mod attention;
mod autodiff;
mod check;
mod conv2d;
mod cooperative;
mod cpu;
mod gelu;
mod gemm;
mod group_norm;
mod integer;
mod kernels;
mod linear;
mod norm;
mod norm_rope;
mod qmatmul;
pub mod reference;
mod residual;
mod units;
#[cfg(test)]
mod variants;
mod vectorize;
mod wgsl;

pub use attention::attention;
pub use check::{KernelCheck, check_kernels, kernels_agree};
pub use conv2d::{conv2d, halving_conv2d, upsample_conv2d};
pub use gelu::{gelu_tanh, gelu_tanh_after};
pub use group_norm::{Activation, group_moments, group_normalize};
pub use integer::InputBits;
pub use kernels::{Kernels, choose_kernels};
pub use linear::{linear, takes_halves};
pub use norm::{modulated_layer_norm, rms_norm};
pub use norm_rope::{Heads, norm_rope};
pub use qmatmul::{BlockQuantized, BlockType, QuantError, qmatmul};
pub use residual::gated_residual;
pub use units::{Units, tell_subgroups};

use burn::backend::DispatchDevice;
use burn::tensor::Device;

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

/// True where hand-written WGSL runs: on a wgpu device whose shader compiler takes WGSL.
///
/// Opens the device. False for SPIR-V, Metal, CUDA and the CPU.
pub fn runs_wgsl(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Cube(device) => device.client().name() == wgsl::CLIENT,
        _ => false,
    }
}

/// Bytes of the largest buffer that a kernel of the device can read; `None` where there is no limit.
///
/// Opens the device.
pub fn largest_buffer(device: &Device) -> Option<u64> {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Cube(device) => Some(device.client().properties().memory.max_page_size),
        _ => None,
    }
}
