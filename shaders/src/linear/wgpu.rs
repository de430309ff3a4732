//! A dense layer on a wgpu device that compiles WGSL and has narrow vector units:
//! `wgsl/linear_narrow.wgsl` where it has subgroups, else `wgsl/linear.wgsl`. On wide units burn's tiled
//! matmul runs. Devices with cooperative matrices make products of many rows on them, as of weights in blocks.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{LinearOps, composed};
use crate::cooperative::Matrices;
use crate::empty::has_no_terms;
#[cfg(not(target_family = "wasm"))]
use crate::library::{self, Library};
use crate::qmatmul::cooperative::{self, Left, Right, Then};
use crate::units::Units;
use crate::wgsl::{self, Shader, THREADS};
use x2i_cpu::integer::InputBits;

/// The side of the square of outputs of a workgroup.
const TILE: usize = 64;

/// Outputs of a workgroup for one input row.
const ONE_ROW_TILE: usize = 1024;

fn shader(one_row: bool, biased: bool) -> Shader {
    Shader {
        name: "linear",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/linear.wgsl")),
        constants: vec![
            ("BIASED", biased.to_string()),
            ("ONE_ROW", one_row.to_string()),
        ],
    }
}

/// Every variant of both shaders for dense weights.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [false, true].into_iter().flat_map(|biased| {
        let direct = [false, true].map(|one_row| shader(one_row, biased));
        let narrow = Narrow::all().map(move |narrow| narrow.dense(biased));
        direct.into_iter().chain(narrow)
    })
}

/// A variant of `wgsl/linear_narrow.wgsl`, which takes dense weights and weights in blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Narrow {
    /// Lanes of a subgroup.
    lanes: u32,
    /// Input rows of a subgroup: 16, or 32 for eight lanes.
    rows: usize,
}

impl Narrow {
    /// Weight rows of a lane.
    const GROUP: usize = 8;

    /// The variant for these units and `m` input rows. Even for one row it is as fast as a kernel for fewer
    /// rows.
    pub(crate) fn of(units: Units, m: usize) -> Option<Self> {
        match units {
            Units::NarrowSubgroups(lanes) => Some(Self {
                lanes,
                rows: if lanes == 8 && m > 16 { 32 } else { 16 },
            }),
            Units::Wide | Units::Narrow => None,
        }
    }

    /// All variants.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [(4, 16), (8, 16), (8, 32)]
            .into_iter()
            .map(|(lanes, rows)| Self { lanes, rows })
    }

    /// `quads`: vectors of four weights in a vector of four words.
    pub(crate) fn shader(self, quads: usize, own: Vec<(&'static str, String)>) -> Shader {
        let mut constants = vec![
            ("LANES", format!("{}u", self.lanes)),
            ("QUADS", format!("{quads}u")),
            ("FAR", (self.rows == 32).to_string()),
        ];
        constants.extend(own);
        Shader {
            name: "linear_narrow",
            text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/linear_narrow.wgsl")),
            constants,
        }
    }

    fn dense(self, biased: bool) -> Shader {
        self.shader(1, vec![("BIASED", biased.to_string())])
    }

    /// `inputs`: `x [m, cols]`, the words of the weight, and its scales or the bias.
    pub(crate) fn launch(
        self,
        shader: Shader,
        quads: usize,
        inputs: [CubeTensor; 3],
        [m, rows, cols]: [usize; 3],
    ) -> CubeTensor {
        let row_tiles = rows.div_ceil(Self::GROUP * self.lanes as usize);
        let tiles = row_tiles * m.div_ceil(self.rows);
        let params = [m, rows, cols / 4, row_tiles, tiles, quads].map(|value| value as u32);
        let groups = (tiles as u32).div_ceil(THREADS / self.lanes);
        let inputs = inputs.map(into_contiguous).to_vec();
        wgsl::launch(shader, inputs, Shape::new([m, rows]), &params, groups)
    }
}

impl LinearOps for CubeBackend {
    fn linear(x: CubeTensor, weight: CubeTensor, _: InputBits) -> CubeTensor {
        linear(x, weight, None)
    }

    fn linear_bias(
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        _: InputBits,
    ) -> CubeTensor {
        linear(x, weight, Some(bias))
    }

    #[cfg(not(target_family = "wasm"))]
    fn matmul(left: CubeTensor, right: CubeTensor) -> CubeTensor {
        match Library::of(&left)
            .filter(|_| left.meta.num_elements() > 0 && right.meta.num_elements() > 0)
        {
            Some(_) => library::multiply(left, right),
            None => composed::matmul::<CubeBackend>(left, right),
        }
    }
}

fn linear(x: CubeTensor, weight: CubeTensor, bias: Option<CubeTensor>) -> CubeTensor {
    #[cfg(not(target_family = "wasm"))]
    if let Some(library) =
        Library::of(&x).filter(|_| x.meta.num_elements() > 0 && weight.meta.num_elements() > 0)
    {
        return library::linear(x, weight, bias, library);
    }
    let (m, cols) = (x.meta.shape()[0], x.meta.shape()[1]);
    let rows = weight.meta.shape()[0];
    let all_f32 = [&x, &weight]
        .into_iter()
        .chain(&bias)
        .all(|tensor| tensor.dtype == DType::F32);
    if let Some(matrices) = Matrices::of(&x).filter(|_| m > cooperative::FEW_ROWS)
        && all_f32
        && rows * cols > 0
    {
        let (x, weight) = (Left::of(x), Right::dense(weight));
        return cooperative::product(matrices, x, weight, bias, Then::Nothing);
    }
    if !wgsl::runs(&x)
        || Units::of(&x) == Units::Wide
        || !all_f32
        || !cols.is_multiple_of(4)
        || has_no_terms([m, rows, cols])
    {
        return composed::linear::<CubeBackend>(x, weight, bias);
    }
    let biased = bias.is_some();
    let bias = bias.unwrap_or_else(|| wgsl::nothing(&x));
    if let Some(narrow) = Narrow::of(Units::of(&x), m) {
        return narrow.launch(narrow.dense(biased), 1, [x, weight, bias], [m, rows, cols]);
    }
    let (row_tiles, tiles) = tiles(m, rows);
    let params = [m, rows, cols / 4, row_tiles, tiles].map(|value| value as u32);
    let shader = shader(m == 1, biased);
    let inputs = [x, weight, bias].map(into_contiguous).to_vec();
    wgsl::launch(shader, inputs, Shape::new([m, rows]), &params, tiles as u32)
}

/// The number of workgroups along the weight rows, and of all workgroups, as the shader assumes.
pub(crate) fn tiles(m: usize, rows: usize) -> (usize, usize) {
    let row_tiles = match m {
        1 => rows.div_ceil(ONE_ROW_TILE),
        _ => rows.div_ceil(TILE),
    };
    (row_tiles, row_tiles * m.div_ceil(TILE))
}
