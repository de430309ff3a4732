//! Which kernels a device runs, where that is not known from its own facts.
//!
//! cubecl hides cooperative matrices from WGSL, and a caller may want f32 everywhere. So whoever opens a device
//! says it here, once, before the first launch: shaders that are compiled stay as they are.

use std::sync::{PoisonError, RwLock};

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use burn_cubecl::CubeDevice;
use burn_cubecl::tensor::CubeTensor;

use crate::units::Units;

/// What a device may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kernels {
    /// The side of the square matrices of f16 that it multiplies at once, with sums in f32: 8 or 16. Products of
    /// many rows then take inputs and weights of f16. `None` where it has none, or shall compute in f32.
    pub cooperative: Option<u32>,
    /// Which vector units the kernels shall be for. `None` for those that the device has.
    pub units: Option<Units>,
    /// Burn's own kernels alone, and none that is written by hand: for a driver that compiles ours wrongly.
    pub composed: bool,
}

static CHOSEN: RwLock<Vec<(CubeDevice, Kernels)>> = RwLock::new(Vec::new());

/// Says what `device` may use from now on. It is [`Kernels::default`] for a device of which nothing was said.
pub fn choose_kernels(device: &Device, kernels: Kernels) {
    let device = device.clone().inner();
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        return;
    };
    let mut chosen = CHOSEN.write().unwrap_or_else(PoisonError::into_inner);
    chosen.retain(|(other, _)| other != device);
    chosen.push((device.clone(), kernels));
}

/// What was [chosen](choose_kernels) for the tensor's device.
pub(crate) fn of(tensor: &CubeTensor) -> Kernels {
    let chosen = CHOSEN.read().unwrap_or_else(PoisonError::into_inner);
    let found = chosen.iter().find(|(device, _)| *device == tensor.device);
    found.map_or_else(Kernels::default, |(_, kernels)| *kernels)
}

/// True when `device` [shall use](choose_kernels) cooperative matrices.
pub(crate) fn are_cooperative(device: &Device) -> bool {
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        return false;
    };
    let chosen = CHOSEN.read().unwrap_or_else(PoisonError::into_inner);
    let mut chosen = chosen.iter().filter(|(other, _)| other == device);
    chosen.any(|(_, kernels)| kernels.cooperative.is_some())
}

impl Units {
    /// Those that were [chosen](choose_kernels) for the tensor's device, else those that it has.
    pub(crate) fn of(tensor: &CubeTensor) -> Self {
        of(tensor).units.unwrap_or_else(|| Self::of_adapter(tensor))
    }
}
