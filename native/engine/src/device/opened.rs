//! An open device, and a guard that turns its failures into errors.

use burn::tensor::Device;
use x2i_core::{Error, Half, Kernels, Result, choose_kernels, kernels_agree};

use super::entry::{DeviceEntry, DeviceKind};
use super::health::{Health, without_panic_output};
use super::precision::{Precision, Wish};

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
    /// In which floats it multiplies: f32, f16 or bf16.
    pub precision: Precision,
    /// What its user should know: its matrix units gave wrong results and are not used.
    pub warning: Option<String>,
}

impl OpenDevice {
    /// Chooses the kernels for a precision, before the device has run any. Matrix units are tried on a small
    /// product first; where a driver is wrong they are not used, and [`warning`](Self::warning) says so.
    ///
    /// # Errors
    /// [`Error::Device`] for floats that the device can't multiply.
    pub(super) fn choose(mut self, precision: Precision) -> Result<Self> {
        let wish = precision.or_environment()?;
        // A device that does not open panics.
        let kernels = self.guard(|| Ok(wish.kernels(&self.entry, &self.device)))??;
        let half = kernels.cooperative.map(|_| Half::F16).or(kernels.library);
        let Some(half) = half else {
            choose_kernels(&self.device, kernels);
            return Ok(self);
        };
        let without_flash = Kernels {
            flash: false,
            ..kernels
        };
        if self.agrees(kernels, wish) || kernels.flash && self.agrees(without_flash, wish) {
            self.precision = match half {
                Half::F16 => Precision::F16,
                Half::Bf16 => Precision::Bf16,
            };
        } else {
            choose_kernels(&self.device, Kernels::default());
            self.warning = Some(format!(
                "{}: the driver's matrix units give wrong results; x2i computes in f32 there",
                self.entry.id
            ));
        }
        Ok(self)
    }

    /// Takes these kernels, and tells whether they give what the CPU gives.
    fn agrees(&self, kernels: Kernels, wish: Wish) -> bool {
        choose_kernels(&self.device, kernels);
        // A shader that does not compile is no better than one that is wrong.
        wish.unchecked
            || self
                .guard(|| Ok(kernels_agree(&self.device)))
                .unwrap_or(false)
    }

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
