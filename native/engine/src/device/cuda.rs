//! NVIDIA GPUs through burn's CUDA backend, which is a cargo feature: building it downloads an LLVM.
//!
//! Listing is safe everywhere. Opening a device without libcuda panics, so only listed devices are
//! opened.

#[cfg(feature = "cuda")]
mod driver;

use x2i_core::{Error, Result};

use super::entry::{DeviceEntry, names};
use super::opened::OpenDevice;

/// Why this machine has no CUDA device; `None` where it has one.
pub fn no_cuda() -> Option<String> {
    #[cfg(feature = "cuda")]
    {
        match driver::gpus() {
            Ok(gpus) if gpus.is_empty() => Some("the driver knows no GPU".into()),
            Ok(_) => None,
            Err(why) => Some(why),
        }
    }
    #[cfg(not(feature = "cuda"))]
    Some("not in this build (cargo feature `cuda`)".into())
}

#[cfg(feature = "cuda")]
pub(super) fn list() -> Vec<DeviceEntry> {
    let gpus = driver::gpus().unwrap_or_default().into_iter().enumerate();
    let entries = gpus.map(|(index, gpu)| DeviceEntry {
        id: format!("cuda:{index}"),
        kind: super::entry::DeviceKind::Cuda,
        index,
        name: gpu.name,
        software: false,
        memory: gpu.memory,
        free: None,
        gpu: None,
    });
    entries.collect()
}

#[cfg(not(feature = "cuda"))]
pub(super) fn list() -> Vec<DeviceEntry> {
    Vec::new()
}

/// Fails when this binary was built without CUDA, and where there is no driver or no GPU.
pub(super) fn check(entries: &[DeviceEntry]) -> Result<()> {
    let Some(why) = no_cuda() else {
        return Ok(());
    };
    let devices = names(entries);
    Err(Error::device(
        "cuda",
        match cfg!(feature = "cuda") {
            true => format!("is not there: {why}; this machine has {devices}"),
            false => format!(
                "this x2i was built without CUDA; build it with `--features cuda`, or take one of {devices}"
            ),
        },
    ))
}

#[cfg(feature = "cuda")]
pub(super) fn open(entry: &DeviceEntry) -> Result<OpenDevice> {
    if let Err(why) = driver::check_libdevice() {
        return Err(Error::device(entry.id.clone(), why));
    }
    let device = burn::tensor::Device::cuda(entry.index);
    Ok(OpenDevice {
        device,
        entry: entry.clone(),
        health: super::health::Health::default(),
        wgpu: None,
        precision: super::precision::Precision::F32,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine without an NVIDIA GPU, in either build.
    #[test]
    fn a_missing_gpu_is_told_with_its_reason_and_the_other_devices() {
        let Some(why) = no_cuda() else { return };
        let message = check(&super::super::list::list()).unwrap_err().to_string();
        let expected = match cfg!(feature = "cuda") {
            true => format!("device cuda: is not there: {why}; this machine has cpu"),
            false => "device cuda: this x2i was built without CUDA; build it with".to_owned(),
        };
        assert!(message.starts_with(&expected), "{message}");
        assert!(!message.contains('\n'), "one line: {message}");
    }
}
