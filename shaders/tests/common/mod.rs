//! The devices that a test runs on, and one comparison for all of them.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test file compiles its own copy and uses a part"
)]

mod devices;

use burn::tensor::{Device, Tensor, TensorData};
pub use devices::devices;
use x2i_shaders::BlockType;

/// Asserts that `found` is `expected` within `tolerance` times the largest expected magnitude.
#[track_caller]
pub fn assert_close<const D: usize>(
    case: &str,
    found: Tensor<D>,
    expected: &[f32],
    tolerance: f32,
) {
    let found: Vec<f32> = found.into_data().try_to_vec().expect("f32 data");
    assert_eq!(found.len(), expected.len(), "{case}: number of elements");
    let magnitude = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * magnitude, // false for NaN
            "{case}: element {i} is {found}, the reference has {expected} (largest {magnitude})"
        );
    }
}

/// Normal-looking values without a dependency: the sum of four uniform numbers.
pub struct Values(u64);

impl Values {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn normal(&mut self) -> f32 {
        let bits = self.bits();
        let uniform = |shift: u32| (bits >> shift & 0xffff) as f32 / 65_536.0 - 0.5;
        1.73 * (uniform(0) + uniform(16) + uniform(32) + uniform(48))
    }

    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// A tensor of f32.
pub fn tensor<const D: usize>(data: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(data.to_vec(), shape), device)
}

/// Random blocks whose factors are of moderate size: the upper bits of their exponents are clear.
pub fn blocks(block_type: BlockType, [rows, cols]: [usize; 2]) -> Vec<u8> {
    let mut values = Values::new((rows * cols) as u64);
    let bytes = rows * cols / block_type.len() * block_type.bytes();
    let mut bytes: Vec<u8> = (0..bytes)
        .map(|_| (values.bits() >> 24) as u8 & 0xbf)
        .collect();
    if block_type == BlockType::MXFP4 {
        for block in bytes.chunks_exact_mut(block_type.bytes()) {
            block[0] = 116 + block[0] % 12; // an exponent of 8 bits
        }
    }
    bytes
}
