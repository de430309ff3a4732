//! The devices that a test runs on. `tests/gpu_check` takes these tests in and puts its own devices here.

use std::io::{Write, stderr};
use std::sync::OnceLock;

use burn::tensor::{Device, DeviceType};
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
