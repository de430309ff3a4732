//! Kinds of devices, as far as what weights become on them goes.

use burn::tensor::Device;
use x2i_shaders::{is_gpu, runs_wgsl, takes_halves};

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A CPU: blocks and matrices of 8 and 16 bits stay as the file has them; the rest is f32.
    Cpu,
    /// A GPU that runs our shaders: blocks become words and f32 scales, matrices of 8 and 16 bits words, the rest
    /// f32.
    Gpu,
    /// A GPU that runs other libraries' kernels (CUDA): blocks become words and f32 scales, matrices of 16 bits stay
    /// as the file has them, the rest is f32.
    Library,
    /// A browser's CPU: as [`Library`](Self::Library), but that matrices of 16 bits become f32.
    Other,
}

impl Target {
    /// What `device` is. Opens a GPU.
    pub fn of(device: &Device) -> Self {
        match (is_gpu(device), takes_halves(device)) {
            (true, _) if runs_wgsl(device) => Self::Gpu,
            (true, true) => Self::Library,
            (false, true) => Self::Cpu,
            (_, false) => Self::Other,
        }
    }
}
