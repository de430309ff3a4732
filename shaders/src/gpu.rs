//! What a device is, and what it can hold.

use burn::backend::DispatchDevice;
use burn::tensor::Device;

use crate::wgsl;

/// True where hand-written WGSL runs: on a wgpu device whose shader compiler takes WGSL.
///
/// Opens the device. False for SPIR-V, Metal, CUDA and the CPU.
pub fn runs_wgsl(device: &Device) -> bool {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Cube(device) => device.client().name() == wgsl::CLIENT,
        _ => false,
    }
}

/// True for a GPU: one that [runs WGSL](runs_wgsl), or burn's kernels alone.
pub fn is_gpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Cube(_))
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
