//! A device that cases run on, and what is asked of it.

use burn::tensor::Device;

/// Largest error on the CPU in f32, as a share of the golden tensor's largest value.
pub(crate) const CPU_TOLERANCE: f32 = 1e-4;
/// The same on a GPU, whose `exp`, `sin` and summation order differ.
const GPU_TOLERANCE: f32 = 1e-3;
/// The same where matrices are multiplied in f16: each factor has 11 bits, 5e-4, and a forward has tens of
/// products one after the other.
pub(crate) const F16_TOLERANCE: f32 = 5e-3;
/// The same in bf16, whose factors have 8 bits: three fewer.
const BF16_TOLERANCE: f32 = 8.0 * F16_TOLERANCE;

/// A device that cases run on.
pub struct TestDevice {
    /// What reports call it.
    pub label: &'static str,
    /// The burn device.
    pub device: Device,
    /// Another device, which gets the second half of a transformer's blocks.
    pub second: Option<Device>,
    pub(crate) tolerance: f32,
    pub(crate) effort: Effort,
}

/// How much of a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// All of it.
    Whole,
    /// Every golden number, but of what is computed besides (files of one state dict, types of blocks) one each.
    Brief,
}

impl TestDevice {
    /// A CPU.
    pub fn cpu(label: &'static str, device: Device) -> Self {
        Self {
            label,
            device,
            second: None,
            tolerance: CPU_TOLERANCE,
            effort: Effort::Whole,
        }
    }

    /// A GPU, or what stands in for one.
    pub fn gpu(label: &'static str, device: Device) -> Self {
        Self {
            label,
            device,
            second: None,
            tolerance: GPU_TOLERANCE,
            effort: Effort::Whole,
        }
    }

    /// A GPU that multiplies in f16.
    pub fn gpu_f16(label: &'static str, device: Device) -> Self {
        Self {
            tolerance: F16_TOLERANCE,
            ..Self::gpu(label, device)
        }
    }

    /// A GPU that multiplies in bf16.
    pub fn gpu_bf16(label: &'static str, device: Device) -> Self {
        Self {
            tolerance: BF16_TOLERANCE,
            ..Self::gpu(label, device)
        }
    }

    /// The same, whose transformers have the second half of their blocks on another device.
    pub fn split_with(self, second: Option<Device>) -> Self {
        Self { second, ..self }
    }

    /// For a device on which a whole case takes minutes, such as a GPU emulated by a browser.
    pub fn brief(self) -> Self {
        Self {
            effort: Effort::Brief,
            ..self
        }
    }
}
