//! An open device, and a guard that turns failures of one or several into errors.

use burn::tensor::Device;
use x2i_core::{Error, Result};

use super::entry::{DeviceEntry, DeviceKind};
use super::health::{Health, without_panic_output};
use super::precision::Precision;

/// An open device. Its clones are the same device.
#[derive(Clone)]
pub struct OpenDevice {
    /// The device as burn takes it.
    pub device: Device,
    /// Its entry in the list of devices.
    pub entry: DeviceEntry,
    /// Its first failure, if any.
    pub health: Health,
    /// The wgpu device behind it; `None` for the CPU and CUDA.
    pub wgpu: Option<burn_wgpu::wgpu::Device>,
    /// In which floats it multiplies: f32, f16 or bf16.
    pub precision: Precision,
    /// What its user should know: it failed with the kernels that it should have, and others are used.
    pub warning: Option<String>,
}

impl OpenDevice {
    /// Runs `work` on the device. Failures of a GPU become [`Error::Device`]: those that its driver
    /// reports, and panics inside the libraries.
    ///
    /// On the CPU nothing is caught: a panic there is a bug.
    ///
    /// # Errors
    /// Those of `work`, and [`Error::Device`].
    pub fn guard<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        guard(std::slice::from_ref(self), work)
    }
}

/// Runs `work` on all of `devices`. Failures of GPUs become [`Error::Device`] with the name of the one that
/// failed: those that its driver reports, and panics inside the libraries.
///
/// On the CPU alone nothing is caught: a panic there is a bug.
///
/// # Errors
/// Those of `work`, and [`Error::Device`].
pub fn guard<T>(devices: &[OpenDevice], work: impl FnOnce() -> Result<T>) -> Result<T> {
    if devices
        .iter()
        .all(|device| device.entry.kind == DeviceKind::Cpu)
    {
        return work();
    }
    let (outcome, panics) = without_panic_output(work);
    let failed = |id: String, reason: &str| Err(Error::device(id, format!("failed: {reason}")));
    let broken = devices
        .iter()
        .find_map(|device| Some((device, device.health.failure()?)));
    match (broken, outcome) {
        (Some((device, failure)), _) => failed(device.entry.id.clone(), failure),
        (None, Some(Err(Error::Device { reason, .. }))) => failed(ids(devices), &reason),
        (None, Some(outcome)) => outcome,
        (None, None) => {
            let reason = panics.first().map(String::as_str);
            failed(
                ids(devices),
                reason.unwrap_or("it stopped without a message"),
            )
        }
    }
}

/// The ids of devices, as [`super::DeviceList`] reads them.
pub fn ids<'a>(devices: impl IntoIterator<Item = &'a OpenDevice>) -> String {
    let ids = devices.into_iter().map(|device| device.entry.id.as_str());
    ids.collect::<Vec<_>>().join(",")
}

/// The names that the drivers of devices give.
pub fn names<'a>(devices: impl IntoIterator<Item = &'a OpenDevice>) -> String {
    let names = devices.into_iter().map(|device| device.entry.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}
