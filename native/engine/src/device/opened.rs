//! An open device, and a guard that turns its failures into errors.

use burn::tensor::Device;
use x2i_core::{Error, Result};

use super::entry::{DeviceEntry, DeviceKind};
use super::health::{Health, without_panic_output};
use super::precision::Precision;

/// An open device.
pub struct OpenDevice {
    /// The device as burn takes it.
    pub device: Device,
    /// Its entry in the list of devices.
    pub entry: DeviceEntry,
    /// Its first failure, if any.
    pub health: Health,
    /// The wgpu device behind it; `None` for the CPU and CUDA.
    pub wgpu: Option<burn_wgpu::wgpu::Device>,
    /// In which floats it multiplies: f32 or f16.
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
        if self.entry.kind == DeviceKind::Cpu {
            return work();
        }
        let (outcome, panics) = without_panic_output(work);
        let failed = |reason: &str| {
            Err(Error::device(
                self.entry.id.clone(),
                format!("failed: {reason}"),
            ))
        };
        match (self.health.failure(), outcome) {
            (Some(failure), _) => failed(failure),
            (None, Some(Err(Error::Device { reason, .. }))) => failed(&reason),
            (None, Some(outcome)) => outcome,
            (None, None) => failed(
                panics
                    .first()
                    .map_or("it stopped without a message", String::as_str),
            ),
        }
    }
}
