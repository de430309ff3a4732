//! An open device, and work on it whose failures come back as errors.

use burn::tensor::Device;
use x2i_core::{Error, Result};

use super::entry::{DeviceEntry, DeviceKind};
use super::health::{Health, without_panic_output};

/// An open device.
pub struct OpenDevice {
    /// The device as burn takes it.
    pub device: Device,
    /// What it is.
    pub entry: DeviceEntry,
    /// What went wrong on it.
    pub health: Health,
    /// The wgpu device behind it.
    pub wgpu: Option<burn_wgpu::wgpu::Device>,
}

impl OpenDevice {
    /// Runs work on the device. What goes wrong on a GPU comes back as [`Error::Device`]: failures
    /// that its driver reported, and panics below us.
    ///
    /// On the CPU nothing is caught: a panic there is a bug and should look like one.
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
