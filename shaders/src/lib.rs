//! Hand-written kernels behind one burn backend extension.
//!
//! [`KernelOps`] is the only place where backends differ. Its default bodies are the composed,
//! differentiable reference, so CUDA, SPIR-V and autodiff work at once; wgpu with WGSL launches the
//! shaders of `wgsl/`, the CPU runs block-wise kernels. Every kernel has a naive twin in
//! [`mod@reference`] that the tests compare it with.
//!
//! Subgroups are used where an adapter has them and gains by it, half precision where a tensor has it:
//! WebGPU promises neither. Left out on purpose: gradients with respect to a quantized weight (it is
//! frozen).

mod attention;
#[cfg(not(target_family = "wasm"))]
mod autodiff;
mod conv2d;
mod gelu;
mod gemm;
mod group_norm;
mod integer;
mod linear;
mod norm;
mod norm_rope;
mod qmatmul;
pub mod reference;
mod residual;
mod rows;
#[cfg(test)]
mod variants;
mod vectorize;
mod wgsl;

pub use attention::attention;
pub use conv2d::{conv2d, upsample_conv2d};
pub use gelu::{gelu_tanh, gelu_tanh_after};
pub use group_norm::{Activation, group_moments, group_normalize};
pub use integer::InputBits;
pub use linear::{linear, takes_halves};
pub use norm::{modulated_layer_norm, rms_norm};
pub use norm_rope::{Heads, norm_rope};
pub use qmatmul::{BlockQuantized, BlockType, QuantError, qmatmul};
pub use residual::gated_residual;
pub use wgsl::tell_subgroups;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, DispatchDevice, Flex, backend_extension};
use burn::tensor::Device;
use burn_cubecl::CubeBackend;

/// The operations a backend may replace by a kernel of its own.
///
/// Shapes are those of the public functions, which check them, so that an implementation may trust
/// them.
#[cfg_attr(not(target_family = "wasm"), backend_extension(Cube, Flex, Autodiff))]
#[cfg_attr(target_family = "wasm", backend_extension(Cube, Flex))] // a browser paints and does not train
pub trait KernelOps: Backend {
    /// `softmax(q kᵀ · scale) v`.
    fn flash_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        attention::composed::<Self>(q, k, v, None, scale)
    }

    /// `softmax(q kᵀ · scale + mask) v`.
    fn flash_attention_masked(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        attention::composed::<Self>(q, k, v, Some(mask), scale)
    }

    /// GELU in its tanh form, any shape.
    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::composed::<Self>(x)
    }

    /// The left channels, then the GELU of the right ones, both `[batch, tokens, _]`.
    fn gelu_tanh_after(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::composed_after::<Self>(left, right)
    }

    /// LayerNorm without weights, then `· (1 + scale) + shift`, `x [batch, tokens, hidden]`.
    fn modulated_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm::composed_modulated::<Self>(x, scale, shift, eps)
    }

    /// RMSNorm of `x [1, rows, width]`.
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        norm::composed_rms::<Self>(x, weight, eps)
    }

    /// RMSNorm of every head of `x [batch, tokens, heads * head_dim]`, then its rotation:
    /// `[batch, heads, tokens, head_dim]`.
    fn norm_rope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm_rope::composed::<Self>(vec![(x, weight)], cos, sin, eps)
    }

    /// [`KernelOps::norm_rope`] of two streams whose tokens follow each other.
    fn norm_rope_joint(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        more: FloatTensor<Self>,
        more_weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm_rope::composed::<Self>(vec![(x, weight), (more, more_weight)], cos, sin, eps)
    }

    /// `x + gate · y`, `gate [batch, 1, hidden]`.
    fn gated_residual(
        x: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        residual::composed::<Self>(x, gate, y)
    }

    /// `x [m, cols]` times `weight [rows, cols]` transposed: `[m, rows]`.
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::composed::<Self>(x, weight, None)
    }

    /// [`KernelOps::linear`] plus `bias [rows]`.
    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::composed::<Self>(x, weight, Some(bias))
    }

    /// The weight of a [`BlockQuantized`], from its `packed` and its `scales`: `[rows, cols]` f32.
    fn dequantize_blocks(
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        block_type: BlockType,
    ) -> FloatTensor<Self> {
        qmatmul::composed_dequantize::<Self>(packed, scales, block_type)
    }

    /// `x [m, cols]` times the dequantized blocks transposed: `[m, rows]`.
    fn matmul_blocks(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let _ = input_bits; // the CPU's concern
        linear::composed::<Self>(x, Self::dequantize_blocks(packed, scales, block_type), None)
    }

    /// [`KernelOps::matmul_blocks`] plus `bias [rows]`.
    fn matmul_blocks_bias(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let product = Self::matmul_blocks(x, packed, scales, block_type, input_bits);
        linear::add_bias::<Self>(product, bias)
    }

    /// A convolution of stride 1 and an odd kernel, the same size out.
    fn conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        conv2d::composed::<Self>(x, weight, bias)
    }

    /// [`KernelOps::conv2d`] of a picture each of whose pixels became 2 x 2.
    fn upsample_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        conv2d::composed::<Self>(conv2d::twice::<Self>(x), weight, bias)
    }

    /// Mean and variance of groups of channels: `[batch, groups, 2]`.
    fn group_moments(x: FloatTensor<Self>, groups: usize) -> FloatTensor<Self> {
        group_norm::composed_moments::<Self>(x, groups)
    }

    /// Groups of channels normalized by their moments, weighted, and activated.
    fn group_normalize(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
        activation: Activation,
    ) -> FloatTensor<Self> {
        group_norm::composed_normalize::<Self>(x, moments, weight, bias, eps, activation)
    }
}

impl KernelOps for Flex {
    fn flash_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        attention::flex::attention(q, k, v, None, scale)
    }

    fn flash_attention_masked(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        attention::flex::attention(q, k, v, Some(mask), scale)
    }

    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::flex::gelu_tanh(x)
    }

    fn gelu_tanh_after(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::flex::gelu_tanh_after(left, right)
    }

    fn modulated_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm::flex::modulated_layer_norm(x, scale, shift, eps)
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        norm::flex::rms_norm(x, weight, eps)
    }

    fn norm_rope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm_rope::flex::norm_rope(vec![(x, weight)], cos, sin, eps)
    }

    fn norm_rope_joint(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        more: FloatTensor<Self>,
        more_weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm_rope::flex::norm_rope(vec![(x, weight), (more, more_weight)], cos, sin, eps)
    }

    fn gated_residual(
        x: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        residual::flex::gated_residual(x, gate, y)
    }

    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::flex::linear(x, weight, None)
    }

    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::flex::linear(x, weight, Some(bias))
    }

    fn dequantize_blocks(
        packed: IntTensor<Self>,
        _scales: FloatTensor<Self>,
        block_type: BlockType,
    ) -> FloatTensor<Self> {
        qmatmul::flex::dequantize(packed, block_type)
    }

    fn matmul_blocks(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        _scales: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        qmatmul::flex::matmul_blocks(x, packed, None, block_type, input_bits)
    }

    fn matmul_blocks_bias(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        _scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        qmatmul::flex::matmul_blocks(x, packed, Some(bias), block_type, input_bits)
    }

    fn conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        conv2d::flex::conv2d(x, weight, bias)
    }

    fn upsample_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        conv2d::flex::upsample_conv2d(x, weight, bias)
    }

    fn group_moments(x: FloatTensor<Self>, groups: usize) -> FloatTensor<Self> {
        group_norm::flex::moments(x, groups)
    }

    fn group_normalize(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
        activation: Activation,
    ) -> FloatTensor<Self> {
        group_norm::flex::normalize(x, moments, weight, bias, eps, activation)
    }
}

/// One backend for all CubeCL runtimes: those that do not compile WGSL take the composed bodies.
impl KernelOps for CubeBackend {
    fn flash_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        attention::wgpu::attention(q, k, v, None, scale)
    }

    fn flash_attention_masked(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        attention::wgpu::attention(q, k, v, Some(mask), scale)
    }

    fn gelu_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::wgpu::gelu_tanh(x)
    }

    fn gelu_tanh_after(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        gelu::wgpu::gelu_tanh_after(left, right)
    }

    fn modulated_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm::wgpu::modulated_layer_norm(x, scale, shift, eps)
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        norm::wgpu::rms_norm(x, weight, eps)
    }

    fn norm_rope(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm_rope::wgpu::norm_rope(vec![(x, weight)], cos, sin, eps)
    }

    fn norm_rope_joint(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        more: FloatTensor<Self>,
        more_weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        norm_rope::wgpu::norm_rope(vec![(x, weight), (more, more_weight)], cos, sin, eps)
    }

    fn gated_residual(
        x: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        y: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        residual::wgpu::gated_residual(x, gate, y)
    }

    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        linear::wgpu::linear(x, weight, None)
    }

    fn linear_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::wgpu::linear(x, weight, Some(bias))
    }

    fn matmul_blocks(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        block_type: BlockType,
        _: InputBits,
    ) -> FloatTensor<Self> {
        qmatmul::wgpu::matmul_blocks(x, packed, scales, block_type)
    }

    fn group_moments(x: FloatTensor<Self>, groups: usize) -> FloatTensor<Self> {
        group_norm::wgpu::moments(x, groups)
    }

    fn group_normalize(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
        activation: Activation,
    ) -> FloatTensor<Self> {
        group_norm::wgpu::normalize(x, moments, weight, bias, eps, activation)
    }
}

/// True where hand-written WGSL runs: a wgpu device whose shader compiler takes WGSL.
///
/// Opens the device. False for SPIR-V, Metal, CUDA and the CPU, which take the composed bodies.
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

/// Every WGSL module that this crate may launch, as `(name, source)`: for validation without a
/// device, and for a page that compiles them before the first picture.
pub fn wgsl_modules() -> impl Iterator<Item = (String, String)> {
    attention::wgpu::shaders()
        .chain(gelu::wgpu::shaders())
        .chain(group_norm::wgpu::shaders())
        .chain(linear::wgpu::shaders())
        .chain(norm::wgpu::shaders())
        .chain(norm_rope::wgpu::shaders())
        .chain(qmatmul::wgpu::shaders())
        .chain(residual::wgpu::shaders())
        .map(|shader| (shader.label(), shader.render()))
}
