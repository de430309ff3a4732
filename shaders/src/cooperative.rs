//! Cooperative matrices: small products that all lanes of a subgroup make together, on tensor cores where a GPU
//! has them.
//!
//! WGSL reaches them through an extension of naga, so that only native devices have them. The factors are f16 and
//! the sums f32. Inputs become f16 with a scale for each row ([`Halves`]), so that none overflows.

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::kernels;
use crate::wgsl::{self, Shader};

/// A device's matrices, as the shaders take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Matrices {
    /// Rows and columns of a matrix.
    pub(crate) side: u32,
    /// Lanes of every subgroup.
    pub(crate) lanes: u32,
}

impl Matrices {
    /// The sides and subgroups that the shaders are compiled for: those of NVIDIA, of Apple, of llvmpipe.
    pub(crate) const ALL: [Self; 3] = [
        Self {
            side: 16,
            lanes: 32,
        },
        Self { side: 8, lanes: 32 },
        Self { side: 8, lanes: 8 },
    ];

    /// Those of the tensor's device, where it has them and [shall use them](crate::choose_kernels).
    ///
    /// A device whose subgroups have several sizes, as those of AMD and Intel, is left out: a shader does not learn which
    /// it gets.
    pub(crate) fn of(tensor: &CubeTensor) -> Option<Self> {
        let side = kernels::of(tensor).cooperative?;
        let hardware = &tensor.client.properties().hardware;
        let lanes = hardware.plane_size_max;
        let matrices = Self { side, lanes };
        let known = hardware.plane_size_min == lanes && Self::ALL.contains(&matrices);
        known.then_some(matrices)
    }

    /// The constants that each of the shaders has.
    pub(crate) fn constants(self) -> Vec<(&'static str, String)> {
        let Self { side, lanes } = self;
        let matrix =
            |element: &str, role: &str| format!("coop_mat{side}x{side}<{element}, {role}>");
        vec![
            ("LANES", format!("{lanes}u")),
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

fn shader(threads: u32) -> Shader {
    Shader {
        name: "halves",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/halves.wgsl")),
        constants: vec![("THREADS", format!("{threads}u"))],
    }
}

/// Both variants of `wgsl/halves.wgsl`.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [32, wgsl::THREADS].into_iter().map(shader)
}

impl Halves {
    /// The rows of `x`, f32 and not empty, of `cols` elements, which is a multiple of 4. `more` rows follow them.
    pub(crate) fn of(x: CubeTensor, cols: usize, more: usize) -> Self {
        let x = into_contiguous(x);
        let rows = x.meta.num_elements() / cols;
        let scales = wgsl::empty(&x, Shape::new([rows]), DType::F32);
        let numbers = wgsl::empty(&x, Shape::new([rows + more, cols]), DType::F16);
        let params = [rows, cols / 4].map(|value| value as u32);
        let threads = match cols / 4 {
            0..=SHORT_ROW => 32,
            _ => wgsl::THREADS,
        };
        let buffers = vec![x, scales.clone(), numbers.clone()];
        wgsl::run(shader(threads), buffers, &params, rows as u32, threads);
        Self { numbers, scales }
    }
}
