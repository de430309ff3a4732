//! Cooperative matrices: small products that all lanes of a subgroup make together, on tensor cores where a GPU
//! has them.
//!
//! WGSL reaches them through an extension of naga, so that only native devices have them. The factors are f16 and
//! the sums f32. Inputs become f16 with a scale for each row ([`Halves`]), so that none overflows.

use std::sync::{PoisonError, RwLock};

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::ir::HardwareProperties;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::kernels;
use crate::wgsl::{self, Shader};

/// A device's matrices, as the shaders take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Matrices {
    /// Rows and columns of a matrix.
    pub(crate) side: u32,
    /// Lanes of the smallest subgroup.
    pub(crate) lanes: u32,
    /// Lanes of the largest one divided by them.
    pub(crate) roles: u32,
}

/// What [`assume_subgroups`] was told.
static ASSUMED: RwLock<Option<[u32; 2]>> = RwLock::new(None);

/// From now on the least and the most lanes of a subgroup are these on all devices: for tests of the shaders for
/// devices whose subgroups have several sizes, which no software has.
#[doc(hidden)]
pub fn assume_subgroups(sizes: [u32; 2]) {
    *ASSUMED.write().unwrap_or_else(PoisonError::into_inner) = Some(sizes);
}

impl Matrices {
    const fn new(side: u32, lanes: u32, roles: u32) -> Self {
        Self { side, lanes, roles }
    }

    /// The sides and subgroups that the shaders are compiled for: those of NVIDIA, of Apple, of llvmpipe, of AMD, whose
    /// drivers choose between 32 and 64 lanes, and what comes closest to that on llvmpipe.
    pub(crate) const ALL: [Self; 5] = [
        Self::new(16, 32, 1),
        Self::new(8, 32, 1),
        Self::new(8, 8, 1),
        Self::new(16, 32, 2),
        Self::new(8, 4, 2),
    ];

    /// Those of the tensor's device, where it has them and [shall use them](crate::choose_kernels).
    pub(crate) fn of(tensor: &CubeTensor) -> Option<Self> {
        Self::known(&tensor.device, &tensor.client.properties().hardware)
    }

    /// Those of a device; `None` for one that records gradients.
    pub(crate) fn on(device: &Device) -> Option<Self> {
        match device.as_dispatch() {
            DispatchDevice::Cube(device) => {
                Self::known(device, &device.client().properties().hardware)
            }
            _ => None,
        }
    }

    fn known(device: &CubeDevice, hardware: &HardwareProperties) -> Option<Self> {
        // No browser has them, and its program shall not carry the kernels.
        if cfg!(target_family = "wasm") {
            return None;
        }
        let chosen = kernels::of(device);
        let side = chosen.cooperative.filter(|_| !chosen.composed)?;
        let assumed = *ASSUMED.read().unwrap_or_else(PoisonError::into_inner);
        let [least, most] = assumed.unwrap_or([hardware.plane_size_min, hardware.plane_size_max]);
        let matrices = Self::new(side, least, most / least.max(1));
        Self::ALL.contains(&matrices).then_some(matrices)
    }

    /// The constants that each of the shaders has.
    pub(crate) fn constants(self) -> Vec<(&'static str, String)> {
        let Self { side, lanes, roles } = self;
        let matrix =
            |element: &str, role: &str| format!("coop_mat{side}x{side}<{element}, {role}>");
        vec![
            ("LANES", format!("{lanes}u")),
            ("ROLES", format!("{roles}u")),
            ("SIDE", format!("{side}u")),
            ("Left", matrix("f16", "A")),
            ("Right", matrix("f16", "B")),
            ("Sums", matrix("f32", "C")),
        ]
    }
}

/// Rows of f32 as f16 and scales.
pub(crate) struct Halves {
    /// `[rows, cols]`, then some rows that hold anything.
    pub(crate) numbers: CubeTensor,
    /// `[rows]`: an element is its number times the scale.
    pub(crate) scales: CubeTensor,
}

/// Up to this many vectors of four a row is made by 32 threads, as a head of attention.
const SHORT_ROW: usize = 64;

/// Columns that a product takes at once.
const CHUNK: usize = 32;

fn shader(threads: u32, ragged: bool) -> Shader {
    Shader {
        name: "halves",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/halves.wgsl")),
        constants: vec![
            ("THREADS", format!("{threads}u")),
            ("RAGGED", ragged.to_string()),
        ],
    }
}

/// Every variant of `wgsl/halves.wgsl`.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [32, wgsl::THREADS]
        .into_iter()
        .flat_map(|threads| [false, true].map(|ragged| shader(threads, ragged)))
}

impl Halves {
    /// The rows of `x`, f32 and not empty, of `cols` elements, which is a multiple of 4. `more` rows follow them.
    pub(crate) fn of(x: CubeTensor, cols: usize, more: usize) -> Self {
        Self::wide(x, [cols, cols], more)
    }

    /// The rows of `x [rows, cols]`, f32 and not empty; zeros fill them up to a multiple of 32 columns.
    pub(crate) fn padded(x: CubeTensor) -> Self {
        let cols = x.meta.shape()[1];
        Self::wide(x, [cols, cols.next_multiple_of(CHUNK)], 0)
    }

    fn wide(x: CubeTensor, [cols, out_cols]: [usize; 2], more: usize) -> Self {
        let x = into_contiguous(x);
        let rows = x.meta.num_elements() / cols;
        let scales = wgsl::empty(&x, Shape::new([rows]), DType::F32);
        let numbers = wgsl::empty(&x, Shape::new([rows + more, out_cols]), DType::F16);
        let params = [rows, cols, out_cols / 4].map(|value| value as u32);
        let threads = match out_cols / 4 {
            0..=SHORT_ROW => 32,
            _ => wgsl::THREADS,
        };
        let ragged = !cols.is_multiple_of(4);
        let nothing = wgsl::nothing(&x);
        let [quads, ones] = if ragged { [nothing, x] } else { [x, nothing] };
        let buffers = vec![quads, ones, scales.clone(), numbers.clone()];
        wgsl::run(
            shader(threads, ragged),
            buffers,
            &params,
            rows as u32,
            threads,
        );
        Self { numbers, scales }
    }
}
