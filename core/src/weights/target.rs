//! Kinds of devices, as far as what weights become on them goes.

use burn::tensor::Device;
use x2i_shaders::{runs_wgsl, takes_halves};

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A CPU: blocks and matrices of 8 and 16 bits stay as the file has them; the rest is f32.
    Cpu,
    /// A GPU that runs our shaders: blocks become words and f32 scales, matrices of 8 and 16 bits words, the rest
    /// f32.
    Gpu,
    /// A browser's CPU, and a GPU that runs other libraries' kernels: as a GPU, but that matrices of 16 bits become
    /// f32.
    Other,
}

impl Target {
    /// What `device` is. Opens a GPU.
    pub fn of(device: &Device) -> Self {
        if takes_halves(device) {
            return Self::Cpu;
        }
        match runs_wgsl(device) {
            true => Self::Gpu,
            false => Self::Other,
        }
    }
}
