//! Block-quantized matmul on a wgpu device that compiles WGSL: `wgsl/qmatmul.wgsl`, and
//! `wgsl/qmatvec.wgsl` for few input rows; `wgsl/qmatmul_direct.wgsl` where vector units are narrow.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{BLOCK, BlockType};
use crate::wgsl::{self, Shader};

/// Outputs of a workgroup of the matmul along either side.
const TILE: usize = 64;

/// Weight rows of a workgroup of the product with few rows.
const FEW_WEIGHT_ROWS: usize = 8;

/// Input rows that a product with few rows is compiled for.
const FEW_ROWS: [usize; 4] = [1, 2, 4, 8];

fn nibbles(block_type: BlockType) -> (&'static str, String) {
    ("NIBBLES", (block_type == BlockType::Q4_0).to_string())
}

fn many_rows(block_type: BlockType) -> Shader {
    Shader {
        name: "qmatmul",
        text: include_str!("../../wgsl/qmatmul.wgsl"),
        constants: vec![nibbles(block_type)],
    }
}

fn few_rows(block_type: BlockType, rows: usize) -> Shader {
    Shader {
        name: "qmatvec",
        text: include_str!("../../wgsl/qmatvec.wgsl"),
        constants: vec![nibbles(block_type), ("INPUT_ROWS", format!("{rows}u"))],
    }
}

fn direct(block_type: BlockType, one_row: bool) -> Shader {
    Shader {
        name: "qmatmul_direct",
        text: include_str!("../../wgsl/qmatmul_direct.wgsl"),
        constants: vec![nibbles(block_type), ("ONE_ROW", one_row.to_string())],
    }
}

/// Every variant that [`matmul_blocks`] may launch.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [BlockType::Q8_0, BlockType::Q4_0]
        .into_iter()
        .flat_map(|block_type| {
            let few = FEW_ROWS
                .into_iter()
                .map(move |rows| few_rows(block_type, rows));
            let direct = [false, true].map(|one_row| direct(block_type, one_row));
            few.chain([many_rows(block_type)]).chain(direct)
        })
}

pub(crate) fn matmul_blocks(
    x: CubeTensor,
    words: CubeTensor,
    scales: CubeTensor,
    block_type: BlockType,
) -> CubeTensor {
    let (m, cols) = (x.meta.shape()[0], x.meta.shape()[1]);
    let rows = scales.meta.shape()[0];
    if !wgsl::runs(&x) || x.dtype != DType::F32 || m * rows * cols == 0 {
        let weight = super::composed_dequantize::<CubeBackend>(words, scales, block_type);
        return CubeBackend::float_matmul(x, CubeBackend::float_transpose(weight));
    }
    debug_assert!(cols.is_multiple_of(BLOCK));

    let few = FEW_ROWS.into_iter().find(|&rows| m <= rows);
    let (shader, params, tiles) = match few {
        _ if wgsl::has_narrow_units(&x) => {
            let (row_tiles, tiles) = crate::linear::wgpu::tiles(m, rows);
            let params = vec![m, rows, cols / 4, row_tiles, tiles];
            (direct(block_type, m == 1), params, tiles)
        }
        Some(input_rows) => {
            let tiles = rows.div_ceil(FEW_WEIGHT_ROWS);
            let params = vec![m, rows, cols / 4, tiles];
            (few_rows(block_type, input_rows), params, tiles)
        }
        None => {
            let row_tiles = rows.div_ceil(TILE);
            let tiles = row_tiles * m.div_ceil(TILE);
            let params = vec![m, rows, cols / 4, row_tiles, tiles];
            (many_rows(block_type), params, tiles)
        }
    };
    let params: Vec<u32> = params.into_iter().map(|value| value as u32).collect();
    let inputs = [x, words, scales].map(into_contiguous).to_vec();
    wgsl::launch(shader, inputs, Shape::new([m, rows]), &params, tiles as u32)
}
