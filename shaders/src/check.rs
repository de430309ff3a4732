//! Compares a device's kernels with the CPU's, on small cases: a driver may compile a rare instruction wrongly.

mod cpu;

pub use cpu::{CpuCheck, check_cpu};

use burn::tensor::{Bytes, Device, Tensor, TensorData};

use crate::cooperative::Matrices;
use crate::wgsl::recorded;
use crate::{
    Activation, Activations, BlockQuantized, BlockType, Gated, Heads, InputBits, Qkv, Weight,
    attention, conv2d, gated_residual, gelu_tanh, group_moments, group_normalize, joint_attention,
    linear, modulated_layer_norm, norm_rope, product_gated, product_gelu, qmatmul, rms_norm,
};

/// How far a kernel may be from the CPU's, of the largest value: f16 has 11 bits, in both factors of 96 products.
const TOLERANCE: f32 = 5e-3;

/// What became of one operation on a device.
#[derive(Debug, Clone)]
pub struct KernelCheck {
    /// The operation.
    pub operation: &'static str,
    /// Files of `wgsl/` that ran, without their ending; none where burn's own kernels did.
    pub shaders: Vec<&'static str>,
    /// The largest difference from the CPU's numbers, of the largest of those; infinite where the device gave no numbers.
    pub error: f32,
    /// How large the error may be.
    pub tolerance: f32,
}

impl KernelCheck {
    /// True when the device's numbers are the CPU's, but for rounding.
    pub fn agrees(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// An operation on small numbers, always the same.
type Operation = fn(&Device) -> Tensor<1>;

/// Those that have kernels of their own, under their names for a reader.
const OPERATIONS: [(&str, Operation); 15] = [
    ("product, f32", |device| dense(40, device)),
    ("large product, f32", large_product),
    ("product, bf16", |device| {
        blocked(40, BlockType::BF16, device)
    }),
    ("product, q8_0", |device| {
        blocked(40, BlockType::Q8_0, device)
    }),
    ("product, q8_0, one row", |device| {
        blocked(1, BlockType::Q8_0, device)
    }),
    ("MLP", multiplied),
    ("attention", attended),
    ("joint attention", joined),
    ("layer norm", layer_normed),
    ("RMS norm", |device| {
        rms_norm(numbers([3, 8, 64], device), numbers([64], device), 1e-6).flatten(0, 2)
    }),
    ("norm and rotation", rotated),
    ("GELU", |device| {
        gelu_tanh(numbers([3, 8, 64], device)).flatten(0, 2)
    }),
    ("gated residual", gated),
    ("group norm", group_normed),
    ("convolution", convolved),
];

/// The operations on which the others rest, and that are the hardest to compile.
const FIRST: [&str; 4] = ["large product, f32", "MLP", "attention", "joint attention"];

/// The one that is hard to compile on cooperative matrices alone; elsewhere it is burn's.
const FIRST_ON_MATRICES: &str = "convolution";

/// Runs every operation that has a kernel of its own, on `device` and on the CPU.
pub fn check_kernels(device: &Device) -> Vec<KernelCheck> {
    OPERATIONS
        .into_iter()
        .map(|operation| check(operation, device))
        .collect()
}

/// True when a product and attention give on `device` what they give on the CPU, and a convolution where it runs on
/// cooperative matrices: the part of [`check_kernels`] that is fast enough for every start.
pub fn kernels_agree(device: &Device) -> bool {
    let on_matrices = Matrices::on(device).map(|_| FIRST_ON_MATRICES);
    let is_first = |name| FIRST.contains(&name) || on_matrices == Some(name);
    let mut first = OPERATIONS.into_iter().filter(|(name, _)| is_first(*name));
    first.all(|operation| check(operation, device).agrees())
}

fn check((name, operation): (&'static str, Operation), device: &Device) -> KernelCheck {
    let (found, shaders) = recorded(|| floats(operation, device));
    KernelCheck {
        operation: name,
        shaders,
        error: error(&found, &floats(operation, &Device::flex())),
        tolerance: TOLERANCE,
    }
}

fn floats(operation: Operation, device: &Device) -> Vec<f32> {
    let numbers = operation(device).into_data();
    numbers.try_to_vec::<f32>().unwrap_or_default()
}

/// The largest difference, of the largest number expected.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    let differences = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs());
    // `max` would leave out a NaN.
    let are_numbers = differences.clone().all(f32::is_finite);
    match found.len() == expected.len() && are_numbers {
        true => differences.fold(0.0, f32::max) / largest,
        false => f32::INFINITY,
    }
}

/// Numbers between -1 and 1, always the same.
fn numbers<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let mut state = 1_u32;
    let uniform = move |_| {
        state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(uniform).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Outputs and inputs of a layer.
const LAYER: [usize; 2] = [70, 96];

fn dense(rows: usize, device: &Device) -> Tensor<1> {
    let [outputs, inputs] = LAYER;
    let bias = Some(numbers([outputs], device));
    linear(
        numbers([rows, inputs], device),
        numbers(LAYER, device),
        bias,
    )
    .flatten(0, 1)
}

/// Large enough for the kernels of large products, and no whole number of their tiles.
fn large_product(device: &Device) -> Tensor<1> {
    let weight = numbers([270, 288], device);
    linear(numbers([300, 288], device), weight, None).flatten(0, 1)
}

fn blocked(rows: usize, block_type: BlockType, device: &Device) -> Tensor<1> {
    let [outputs, inputs] = LAYER;
    let weight = quantized(block_type, LAYER, device);
    let bias = Some(numbers([outputs], device));
    qmatmul(numbers([rows, inputs], device), &weight, bias).flatten(0, 1)
}

fn quantized(block_type: BlockType, shape: [usize; 2], device: &Device) -> BlockQuantized {
    let count = shape[0] * shape[1];
    let bytes: Vec<u8> = match block_type {
        // The upper halves of f32s: plus or minus 0.5 to 1.
        BlockType::BF16 => (0..count)
            .flat_map(|i| [(i * 37 % 128) as u8, 0x3f | ((i % 2) as u8) << 7])
            .collect(),
        // Blocks of 32 numbers: an f16 of 2^-7 or two, and 32 bytes or half of them.
        _ => (0..count / 32)
            .flat_map(|block| {
                let number = move |i: usize| ((block * 32 + i) * 37 % 255) as u8;
                let numbers = block_type.bytes() / 16 * 16;
                let head = [0x00, 0x20].into_iter().cycle();
                let head = head.take(block_type.bytes() - numbers);
                head.chain((0..numbers).map(number))
            })
            .collect(),
    };
    let bytes = Bytes::from_bytes_vec(bytes);
    let weight = BlockQuantized::from_ggml(bytes, block_type, shape, device);
    let weight = weight.expect("as many bytes as its shape needs");
    weight.with_input_bits(InputBits::Sixteen)
}

/// Two products, with a GELU between them and a gated residual after them.
fn multiplied(device: &Device) -> Tensor<1> {
    let (inner, outer, tokens) = (96, 70, 40);
    let weight = |shape| quantized(BlockType::Q8_0, shape, device);
    let (first, second) = (weight([inner, 64]), weight([outer, inner]));
    let x = Activations::new(numbers([1, tokens, 64], device));
    let hidden = product_gelu(x, Weight::Blocks(&first), numbers([inner], device));
    let to = Gated {
        residual: numbers([1, tokens, outer], device),
        gate: numbers([1, 1, outer], device),
    };
    let bias = numbers([outer], device);
    product_gated(hidden, Weight::Blocks(&second), bias, to).flatten(0, 2)
}

/// Attention that reads what one product gives, and gives what another reads.
fn joined(device: &Device) -> Tensor<1> {
    let (tokens, head_dim) = (45, 64);
    let width = 2 * head_dim;
    let heads = || Heads {
        x: numbers([1, tokens, width], device),
        weight: numbers([head_dim], device),
    };
    let qkv = Qkv {
        q: heads(),
        k: heads(),
        v: numbers([1, tokens, width], device),
    };
    let [cos, sin] = [0, 1].map(|_| numbers([tokens, head_dim], device));
    joint_attention(qkv, None, [cos, sin], 1e-6, InputBits::Sixteen)
        .to_f32()
        .flatten(0, 2)
}

/// Grouped queries; neither number of tokens fills a tile.
fn attended(device: &Device) -> Tensor<1> {
    let [q, k, v] =
        [[1, 4, 21, 64], [1, 2, 45, 64], [1, 2, 45, 64]].map(|shape| numbers(shape, device));
    attention(q, k, v, None, 0.5).flatten(0, 3)
}

fn layer_normed(device: &Device) -> Tensor<1> {
    let [scale, shift] = [
        numbers([2, 1, 64], device),
        numbers([2, 1, 64], device) + 0.5,
    ];
    modulated_layer_norm(numbers([2, 9, 64], device), scale, shift, 1e-6).flatten(0, 2)
}

fn rotated(device: &Device) -> Tensor<1> {
    let heads = Heads {
        x: numbers([1, 9, 128], device),
        weight: numbers([64], device),
    };
    let [cos, sin] = [numbers([9, 64], device), numbers([9, 64], device) * 0.5];
    norm_rope(heads, None, cos, sin, 1e-6).flatten(0, 3)
}

fn gated(device: &Device) -> Tensor<1> {
    let y = numbers([2, 9, 64], device) * 0.5;
    gated_residual(numbers([2, 9, 64], device), numbers([2, 1, 64], device), y).flatten(0, 2)
}

fn group_normed(device: &Device) -> Tensor<1> {
    let x = || numbers([1, 16, 8, 8], device);
    let [weight, bias] = [numbers([16], device), numbers([16], device) * 0.5];
    group_normalize(
        x(),
        group_moments(x(), 4),
        weight,
        bias,
        1e-6,
        Activation::Silu,
    )
    .flatten(0, 3)
}

fn convolved(device: &Device) -> Tensor<1> {
    let (x, weight) = (
        numbers([1, 20, 11, 19], device),
        numbers([24, 20, 3, 3], device),
    );
    conv2d(x, weight, numbers([24], device)).flatten(0, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_relative_and_no_numbers_are_infinitely_wrong() {
        assert_eq!(error(&[1.0, 3.0], &[1.0, 4.0]), 0.25);
        assert_eq!(error(&[1.0, 4.0], &[1.0, 4.0]), 0.0);
        for found in [
            &[1.0][..],
            &[],
            &[f32::NAN, 4.0],
            &[1.0, f32::NAN],
            &[f32::INFINITY, 4.0],
        ] {
            assert_eq!(error(found, &[1.0, 4.0]), f32::INFINITY, "{found:?}");
        }
    }

    #[test]
    fn the_cpu_agrees_with_itself_and_runs_no_shader() {
        for check in check_kernels(&Device::flex()) {
            assert!(check.agrees() && check.shaders.is_empty(), "{check:?}");
            assert!(check.error == 0.0);
        }
    }

    #[test]
    fn the_first_operations_are_among_all() {
        for first in FIRST.into_iter().chain([FIRST_ON_MATRICES]) {
            assert!(OPERATIONS.iter().any(|(name, _)| *name == first), "{first}");
        }
    }
}
