//! A dense layer on a wgpu device that compiles WGSL and has narrow vector units: `wgsl/linear.wgsl`.
//! Elsewhere burn's tiled matmul runs.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::wgsl::{self, Shader};

/// Outputs of a workgroup along either side.
const TILE: usize = 64;

/// Outputs of a workgroup where there is one input row.
const ONE_ROW_TILE: usize = 1024;

fn shader(one_row: bool, biased: bool) -> Shader {
    Shader {
        name: "linear",
        text: include_str!("../../wgsl/linear.wgsl"),
        constants: vec![
            ("BIASED", biased.to_string()),
            ("ONE_ROW", one_row.to_string()),
        ],
    }
}

/// Every variant that [`linear`] may launch.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [false, true]
        .into_iter()
        .flat_map(|one_row| [false, true].map(|biased| shader(one_row, biased)))
}

pub(crate) fn linear(x: CubeTensor, weight: CubeTensor, bias: Option<CubeTensor>) -> CubeTensor {
    let (m, cols) = (x.meta.shape()[0], x.meta.shape()[1]);
    let rows = weight.meta.shape()[0];
    let all_f32 = [&x, &weight]
        .into_iter()
        .chain(&bias)
        .all(|tensor| tensor.dtype == DType::F32);
    if !wgsl::runs(&x)
        || !wgsl::has_narrow_units(&x)
        || !all_f32
        || !cols.is_multiple_of(4)
        || m * rows * cols == 0
    {
        return super::composed::<CubeBackend>(x, weight, bias);
    }
    let (row_tiles, tiles) = tiles(m, rows);
    let params = [m, rows, cols / 4, row_tiles, tiles].map(|value| value as u32);
    let shader = shader(m == 1, bias.is_some());
    let bias = bias.unwrap_or_else(|| wgsl::nothing(&x));
    let inputs = [x, weight, bias].map(into_contiguous).to_vec();
    wgsl::launch(shader, inputs, Shape::new([m, rows]), &params, tiles as u32)
}

/// Workgroups along the weight rows, and all of them: what the shader counts on.
pub(crate) fn tiles(m: usize, rows: usize) -> (usize, usize) {
    let row_tiles = match m {
        1 => rows.div_ceil(ONE_ROW_TILE),
        _ => rows.div_ceil(TILE),
    };
    (row_tiles, row_tiles * m.div_ceil(TILE))
}
