//! The devices that a test runs on, and one comparison for all of them.

use std::io::{Write, stderr};
use std::sync::OnceLock;

use burn::tensor::{Device, DeviceType, Tensor};
use x2i_shaders::runs_wgsl;

/// The CPU, and a wgpu adapter where there is one; a missing adapter is printed once.
pub fn devices() -> &'static [(&'static str, Device)] {
    static DEVICES: OnceLock<Vec<(&str, Device)>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let mut devices = vec![("flex", Device::flex())];
        match Device::enumerate(DeviceType::Wgpu).into_vec().pop() {
            Some(device) => {
                assert!(runs_wgsl(&device), "{device:?} does not take WGSL");
                devices.push(("wgpu", device));
            }
            // Not a print macro: those the test runner captures.
            None => drop(writeln!(stderr(), "SKIPPED: no wgpu adapter")),
        }
        devices
    })
}

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
