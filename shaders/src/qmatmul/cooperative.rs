//! Block-quantized matmul on cooperative matrices: `wgsl/qmatmul_coop.wgsl`.

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::constants::constants;
use super::device::DeviceLayout;
use crate::cooperative::{Halves, Matrices};
use crate::wgsl::{self, Shader};

/// Matrices of a subgroup along the input rows: few for few rows, so that little is computed in vain.
const DOWN: [usize; 3] = [1, 2, 4];

/// Subgroups of a workgroup along the input rows, and along the weight rows.
const SUBGROUPS: [usize; 2] = [2, 4];

/// Matrices of a subgroup along the weight rows.
const ACROSS: usize = 2;

/// A variant of the shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    matrices: Matrices,
    down: usize,
}

impl Variant {
    /// All variants, those for few input rows first.
    fn all(matrices: Matrices) -> impl Iterator<Item = Self> {
        let variants = DOWN.map(|down| Self { matrices, down }).into_iter();
        // Each lane stages a part of the inputs.
        variants.filter(move |variant| variant.rows() >= matrices.lanes as usize)
    }

    /// The variant for `m` input rows.
    pub(crate) fn of(matrices: Matrices, m: usize) -> Self {
        let enough = Self::all(matrices).find(|variant| m <= variant.rows());
        enough.unwrap_or(Self {
            matrices,
            down: DOWN[2],
        })
    }

    /// Input rows of a workgroup.
    fn rows(self) -> usize {
        SUBGROUPS[0] * self.down * self.matrices.side as usize
    }

    fn shader(self, layout: DeviceLayout, biased: bool) -> Shader {
        let mut constants = constants(layout);
        constants.extend(self.matrices.constants());
        constants.push(("DOWN", format!("{}u", self.down)));
        constants.push(("BIASED", biased.to_string()));
        Shader {
            name: "qmatmul_coop",
            text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/qmatmul_coop.wgsl")),
            constants,
        }
    }

    /// The product; `inputs`: `x [m, cols]`, packed, scales; and the bias `[rows]`. `cols` is a multiple of 32.
    pub(crate) fn launch(
        self,
        [x, packed, scales]: [CubeTensor; 3],
        bias: Option<CubeTensor>,
        layout: DeviceLayout,
    ) -> CubeTensor {
        let (m, cols) = (x.meta.shape()[0], x.meta.shape()[1]);
        let rows = scales.meta.shape()[0];
        let side = self.matrices.side as usize;
        let row_tiles = rows.div_ceil(SUBGROUPS[1] * ACROSS * side);
        let tiles = row_tiles * m.div_ceil(self.rows());
        let shader = self.shader(layout, bias.is_some());
        let x = Halves::of(x, cols, 0);
        let out = wgsl::empty(&scales, Shape::new([m, rows]), DType::F32);
        let bias = bias.unwrap_or_else(|| wgsl::nothing(&scales));
        let [packed, scales, bias] = [packed, scales, bias].map(into_contiguous);
        let buffers = vec![x.numbers, x.scales, packed, scales, bias, out.clone()];
        let params = [m, rows, cols / 4, row_tiles, tiles].map(|value| value as u32);
        let threads = (SUBGROUPS[0] * SUBGROUPS[1]) as u32 * self.matrices.lanes;
        wgsl::run(shader, buffers, &params, tiles as u32, threads);
        out
    }
}

/// Every variant of the shader.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    DeviceLayout::all().flat_map(|layout| {
        let variants = Matrices::ALL.into_iter().flat_map(Variant::all);
        variants.flat_map(move |variant| [false, true].map(|biased| variant.shader(layout, biased)))
    })
}
