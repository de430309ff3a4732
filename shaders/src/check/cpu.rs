//! Compares every variant of the processor's kernels with plain Rust.

use burn::tensor::{Device, FloatDType, Tensor};

use super::{KernelCheck, LAYER, OPERATIONS, Operation, error, floats, numbers, quantized};
use crate::{BlockType, InputBits, linear_rounded, qmatmul};
use x2i_cpu::processor::{CPU_VARIANTS, CpuVariant, choose_cpu};

/// Inputs of 7 bits, which AVX2 takes beside weights of 8 bits, of the largest of 40 x 70 sums of 96 products.
const BYTES_TOLERANCE: f32 = 2e-2;

/// What became of a variant.
#[derive(Debug, Clone)]
pub struct CpuCheck {
    /// Which.
    pub variant: &'static CpuVariant,
    /// Its operations; `None` where this machine can't run it.
    pub checks: Option<Vec<KernelCheck>>,
}

/// Operations whose inputs are rounded to 7 or 8 bits or to bf16, by each variant in its own way.
const BYTES: [(&str, Operation); 4] = [
    ("product, bf16, inputs of bf16", halves),
    ("product, q8_0, inputs of 8 bits", |device| {
        rounded(BlockType::Q8_0, device)
    }),
    ("product, q4_0, inputs of 8 bits", |device| {
        rounded(BlockType::Q4_0, device)
    }),
    ("product, q4_1, inputs of 8 bits", |device| {
        rounded(BlockType::Q4_1, device)
    }),
];

/// Runs all operations with each variant that this machine has, one after the other, and then chooses the variant that
/// was chosen before. Other work of the process may meanwhile run with any of them.
pub fn check_cpu() -> Vec<CpuCheck> {
    let before = CpuVariant::current();
    choose_cpu(&CPU_VARIANTS[0]);
    let expected = run_all();
    let checks = CPU_VARIANTS
        .iter()
        .map(|variant| CpuCheck {
            variant,
            checks: variant.is_here().then(|| {
                choose_cpu(variant);
                let found = run_all().into_iter().zip(&expected);
                found
                    .map(
                        |((operation, tolerance, found), (_, _, expected))| KernelCheck {
                            operation,
                            shaders: Vec::new(),
                            error: error(&found, expected),
                            tolerance,
                        },
                    )
                    .collect()
            }),
        })
        .collect();
    choose_cpu(before);
    checks
}

/// The numbers of every operation, with the tolerance for them.
fn run_all() -> Vec<(&'static str, f32, Vec<f32>)> {
    let device = Device::flex();
    let exact = OPERATIONS
        .into_iter()
        .map(|operation| (operation, super::TOLERANCE));
    let rounded = BYTES
        .into_iter()
        .map(|operation| (operation, BYTES_TOLERANCE));
    let run = |((name, operation), tolerance)| (name, tolerance, floats(operation, &device));
    exact.chain(rounded).map(run).collect()
}

/// A product whose dense weights are wide enough for inputs of bf16.
fn halves(device: &Device) -> Tensor<1> {
    let [outputs, _] = LAYER;
    let inputs = 1024 + 256;
    let weight = numbers([outputs, inputs], device).cast(FloatDType::BF16);
    let x = numbers([40, inputs], device);
    linear_rounded(x, weight, None, InputBits::AsWeights).flatten(0, 1)
}

/// A product whose weights are wide enough for inputs of 8 bits.
fn rounded(block_type: BlockType, device: &Device) -> Tensor<1> {
    let [outputs, _] = LAYER;
    let inputs = 1024 + 256;
    let weight = quantized(block_type, [outputs, inputs], device);
    let weight = weight.with_input_bits(InputBits::AsWeights);
    qmatmul(numbers([40, inputs], device), &weight, None).flatten(0, 1)
}
