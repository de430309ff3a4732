//! Which kernels a device runs, where that is not known from its own facts.
//!
//! cubecl hides cooperative matrices from WGSL, and a caller may want f32 everywhere. So whoever opens a device
//! says it here, once, before the first launch: shaders that are compiled stay as they are.

use std::sync::{PoisonError, RwLock};

use burn::backend::DispatchDevice;
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use burn_cubecl::CubeDevice;
use burn_cubecl::tensor::CubeTensor;

use crate::{BlockQuantized, BlockType, InputBits, attention, conv2d, qmatmul};

/// What a device may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kernels {
    /// The side of the square matrices of f16 that it multiplies at once, with sums in f32: 8 or 16. Products of
    /// many rows then take inputs and weights of f16. `None` where it has none, or shall compute in f32.
    pub cooperative: Option<u32>,
}

static CHOSEN: RwLock<Vec<(CubeDevice, Kernels)>> = RwLock::new(Vec::new());

/// Says what `device` may use from now on. It is [`Kernels::default`] for a device of which nothing was said.
pub fn choose_kernels(device: &Device, kernels: Kernels) {
    let device = device.clone().inner();
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        return;
    };
    let mut chosen = CHOSEN.write().unwrap_or_else(PoisonError::into_inner);
    chosen.retain(|(other, _)| other != device);
    chosen.push((device.clone(), kernels));
}

/// What was [chosen](choose_kernels) for the tensor's device.
pub(crate) fn of(tensor: &CubeTensor) -> Kernels {
    let chosen = CHOSEN.read().unwrap_or_else(PoisonError::into_inner);
    let found = chosen.iter().find(|(device, _)| *device == tensor.device);
    found.map_or_else(Kernels::default, |(_, kernels)| *kernels)
}

/// How far f16 may be from f32, of the largest value: 11 bits of both factors, over 64 products and more.
const TOLERANCE: f32 = 5e-3;

/// True when the kernels that were [chosen](choose_kernels) for a device give what a CPU gives, on a small case of
/// a product, of attention and of a convolution. A driver may compile a rare instruction wrongly.
pub fn kernels_agree(device: &Device) -> bool {
    let on_cpu = Device::flex();
    let results = |device: &Device| [product(device), attended(device), convolved(device)];
    let pairs = results(device).into_iter().zip(results(&on_cpu));
    let mut pairs = pairs.map(|(found, expected)| found.zip(expected));
    pairs.all(|pair| pair.is_some_and(|(found, expected)| close(&found, &expected)))
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

fn product(device: &Device) -> Option<Vec<f32>> {
    let shape = [70, 96];
    // Blocks of an f16, 2^-7, and 32 numbers.
    let blocks = (0..shape[0] * shape[1] / 32).flat_map(|block| {
        let number = move |i: usize| ((block * 32 + i) * 37 % 255) as u8;
        [0x00, 0x20].into_iter().chain((0..32).map(number))
    });
    let bytes = Bytes::from_bytes_vec(blocks.collect());
    let weight = BlockQuantized::from_ggml(bytes, BlockType::Q8_0, shape, device).ok()?;
    let weight = weight.with_input_bits(InputBits::Sixteen);
    let bias = Some(numbers([shape[0]], device));
    floats(qmatmul(numbers([40, shape[1]], device), &weight, bias))
}

fn attended(device: &Device) -> Option<Vec<f32>> {
    let [q, k, v] =
        [[1, 4, 21, 64], [1, 2, 45, 64], [1, 2, 45, 64]].map(|shape| numbers(shape, device));
    floats(attention(q, k, v, None, 0.5))
}

fn convolved(device: &Device) -> Option<Vec<f32>> {
    let (x, weight) = (
        numbers([1, 20, 11, 19], device),
        numbers([24, 20, 3, 3], device),
    );
    floats(conv2d(x, weight, numbers([24], device)))
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Option<Vec<f32>> {
    tensor.into_data().try_to_vec().ok()
}

fn close(found: &[f32], expected: &[f32]) -> bool {
    let largest = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    let mut pairs = found.iter().zip(expected);
    found.len() == expected.len()
        && pairs.all(|(found, expected)| (found - expected).abs() <= TOLERANCE * largest)
}
