//! Which kernels a device runs, where that is not known from its own facts.
//!
//! cubecl hides cooperative matrices from WGSL, and a caller may want f32 everywhere. So whoever opens a device
//! says it here, once, before the first launch: shaders that are compiled stay as they are.

use std::sync::{PoisonError, RwLock};

use burn::backend::DispatchDevice;
#[cfg(not(target_family = "wasm"))]
use burn::tensor::DType;
use burn::tensor::Device;
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
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
    /// The floats in which products and attention run by burn's kernels instead of ours, with sums in f32; `None` for
    /// f32 there, and for ours where they run.
    pub library: Option<Half>,
    /// True where attention without a mask is one kernel of cubek's, in f16 with sums in f32.
    pub flash: bool,
}

/// A float of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// 5 bits of exponent, 10 of mantissa.
    F16,
    /// 8 bits of exponent, 7 of mantissa.
    Bf16,
}

impl Half {
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    pub(crate) fn element(self) -> ElemType {
        ElemType::Float(match self {
            Self::F16 => FloatKind::F16,
            Self::Bf16 => FloatKind::BF16,
        })
    }
}

/// True for a GPU with matrix units (tensor cores) for such factors and sums in f32, which burn's kernels can use.
///
/// Opens the device.
pub fn multiplies(device: &Device, half: Half) -> bool {
    let device = device.clone().inner();
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        return false;
    };
    let client = device.client();
    let matmul = &client.properties().features.matmul;
    let sums = ElemType::Float(FloatKind::F32);
    matmul.cmma.iter().chain(&matmul.mma).any(|matrices| {
        let factors = [matrices.a_type, matrices.b_type];
        factors == [half.element(); 2] && matrices.cd_type == sums
    })
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

/// What was [chosen](choose_kernels) for a device.
pub(crate) fn of(device: &CubeDevice) -> Kernels {
    let chosen = CHOSEN.read().unwrap_or_else(PoisonError::into_inner);
    let found = chosen.iter().find(|(other, _)| other == device);
    found.map_or_else(Kernels::default, |(_, kernels)| *kernels)
}

impl Units {
    /// Those that were [chosen](choose_kernels) for the tensor's device, else those that it has.
    pub(crate) fn of(tensor: &CubeTensor) -> Self {
        of(&tensor.device)
            .units
            .unwrap_or_else(|| Self::of_adapter(tensor))
    }
}
