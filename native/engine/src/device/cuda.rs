//! NVIDIA GPUs through burn's CUDA backend, which is a cargo feature: building it downloads an LLVM.
//!
//! Listing is safe everywhere. Opening a device without libcuda panics, so only listed devices are
//! opened.

use x2i_core::{Error, Result};

use super::entry::{DeviceEntry, names};
use super::opened::OpenDevice;
#[cfg(feature = "cuda")]
use super::precision::Precision;

#[cfg(feature = "cuda")]
pub(super) fn list() -> Vec<DeviceEntry> {
    use burn::tensor::{Device, DeviceType};
    let devices = Device::enumerate(DeviceType::Cuda).into_vec();
    let entry = |index| DeviceEntry {
        id: format!("cuda:{index}"),
        kind: super::entry::DeviceKind::Cuda,
        index,
        name: "NVIDIA GPU".into(),
        software: false,
        memory: None,
        free: None,
        gpu: None,
    };
    (0..devices.len()).map(entry).collect()
}

#[cfg(not(feature = "cuda"))]
pub(super) fn list() -> Vec<DeviceEntry> {
    Vec::new()
}

/// Fails when this binary was built without CUDA.
pub(super) fn check_built(entries: &[DeviceEntry]) -> Result<()> {
    if cfg!(feature = "cuda") {
        return Ok(());
    }
    let reason = format!(
        "this x2i was built without CUDA; build it with `--features cuda`, or take one of {}",
        names(entries)
    );
    Err(Error::device("cuda", reason))
}

#[cfg(feature = "cuda")]
pub(super) fn open(entry: &DeviceEntry) -> Result<OpenDevice> {
    let device = burn::tensor::Device::cuda(entry.index);
    Ok(OpenDevice {
        device,
        entry: entry.clone(),
        health: super::health::Health::default(),
        wgpu: None,
        precision: Precision::F32,
        warning: None,
    })
}

#[cfg(not(feature = "cuda"))]
pub(super) fn open(entry: &DeviceEntry) -> Result<OpenDevice> {
    Err(Error::device(
        entry.id.clone(),
        "this x2i was built without CUDA",
    ))
}
