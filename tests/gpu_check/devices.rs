//! The devices of the kernels' tests: the CPU, and the one that the command line names.

use std::sync::OnceLock;

use burn::tensor::Device;
use x2i_engine::device::{DeviceChoice, DeviceKind, Precision, acquire_with};
use x2i_shaders::runs_wgsl;

static DEVICES: OnceLock<Vec<(&str, Device)>> = OnceLock::new();

/// Opens the device, before any test runs; returns its name.
///
/// # Errors
/// When there is no such device, or it can't be opened.
pub fn open(choice: DeviceChoice, precision: Precision) -> Result<String, String> {
    let opened = acquire_with(choice, precision).map_err(|error| error.to_string())?;
    let mut devices = vec![("flex", Device::flex())];
    // Tests know a device that runs WGSL by this name.
    let name = match opened.entry.kind {
        DeviceKind::Cpu => None,
        DeviceKind::Wgpu => Some("wgpu"),
        DeviceKind::Cuda => Some("cuda"),
    };
    if let Some(name) = name {
        if runs_wgsl(&opened.device) != (name == "wgpu") {
            return Err(format!("{}: wgpu alone takes WGSL", opened.entry));
        }
        devices.push((name, opened.device));
    }
    DEVICES
        .set(devices)
        .map_err(|_| "the devices are open".to_owned())?;
    Ok(opened.entry.to_string())
}

/// The CPU, and the device that was opened.
///
/// # Panics
/// Before [`open`].
pub fn devices() -> &'static [(&'static str, Device)] {
    DEVICES.get().expect("opened before the first test")
}
