//! Block-quantized matmul on a wgpu device that compiles WGSL.
//!
//! Devices with cooperative matrices run [`cooperative`](super::cooperative) for many input rows.
//! Wide vector units run `wgsl/qmatmul.wgsl`, and `wgsl/qmatvec.wgsl` for few input rows. Narrow units run
//! `wgsl/linear_narrow.wgsl` where they have subgroups, else `wgsl/qmatmul_direct.wgsl`.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::BlockOps;
use super::constants::{constants, of_layout};
use super::cooperative::{self, Left, Right, Then};
use super::device::DeviceLayout;
use crate::cooperative::Matrices;
use crate::empty::has_no_terms;
#[cfg(not(target_family = "wasm"))]
use crate::library::{self, Library};
use crate::linear::composed::{add_bias, linear};
use crate::linear::wgpu::Narrow;
use crate::units::Units;
use crate::wgsl::{self, Shader};
use x2i_cpu::formats::BlockType;
use x2i_cpu::integer::InputBits;

/// The side of the square of outputs of a workgroup of `qmatmul.wgsl`.
const TILE: usize = 64;

/// Weight rows of a workgroup of `qmatvec.wgsl`.
const FEW_WEIGHT_ROWS: usize = 8;

/// Input rows that `qmatvec.wgsl` is compiled for.
const FEW_ROWS: [usize; 4] = [1, 2, 4, cooperative::FEW_ROWS];

/// A shader with the constants of the layout, and one of its own.
fn shader(
    name: &'static str,
    text: &'static str,
    layout: DeviceLayout,
    variant: Option<(&'static str, String)>,
) -> Shader {
    let mut constants = constants(layout);
    constants.extend(variant);
    Shader {
        name,
        text,
        constants,
    }
}

fn many_rows(layout: DeviceLayout) -> Shader {
    let text = include_str!(concat!(env!("OUT_DIR"), "/wgsl/qmatmul.wgsl"));
    shader("qmatmul", text, layout, None)
}

fn few_rows(layout: DeviceLayout, rows: usize) -> Shader {
    let text = include_str!(concat!(env!("OUT_DIR"), "/wgsl/qmatvec.wgsl"));
    let rows = ("INPUT_ROWS", format!("{rows}u"));
    shader("qmatvec", text, layout, Some(rows))
}

fn direct(layout: DeviceLayout, one_row: bool) -> Shader {
    let text = include_str!(concat!(env!("OUT_DIR"), "/wgsl/qmatmul_direct.wgsl"));
    let one_row = ("ONE_ROW", one_row.to_string());
    shader("qmatmul_direct", text, layout, Some(one_row))
}

/// Vectors of four weights in a vector of four words.
fn quads(layout: DeviceLayout) -> usize {
    layout.per_word()
}

fn narrow(layout: DeviceLayout, narrow: Narrow) -> Shader {
    narrow.shader(quads(layout), of_layout(layout))
}

/// Every variant of the shaders for weights in blocks.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    let blocked = DeviceLayout::all().flat_map(|layout| {
        let few = FEW_ROWS.map(|rows| few_rows(layout, rows));
        let direct = [false, true].map(|one_row| direct(layout, one_row));
        let narrow = Narrow::all().map(move |variant| narrow(layout, variant));
        let wide = few.into_iter().chain([many_rows(layout)]);
        wide.chain(direct).chain(narrow)
    });
    blocked.chain(cooperative::shaders())
}

impl BlockOps for CubeBackend {
    fn matmul_blocks(
        x: CubeTensor,
        packed: CubeTensor,
        scales: CubeTensor,
        block_type: BlockType,
        _: InputBits,
    ) -> CubeTensor {
        product([x, packed, scales], None, block_type)
    }

    fn matmul_blocks_bias(
        x: CubeTensor,
        packed: CubeTensor,
        scales: CubeTensor,
        bias: CubeTensor,
        block_type: BlockType,
        _: InputBits,
    ) -> CubeTensor {
        product([x, packed, scales], Some(bias), block_type)
    }
}

/// `inputs`: `x [m, cols]`, packed, scales.
fn product(inputs: [CubeTensor; 3], bias: Option<CubeTensor>, block_type: BlockType) -> CubeTensor {
    #[cfg(not(target_family = "wasm"))]
    let empty = inputs[..2]
        .iter()
        .any(|input| input.meta.num_elements() == 0);
    #[cfg(not(target_family = "wasm"))]
    if let Some(library) = Library::of(&inputs[0]).filter(|_| !empty) {
        return library::linear_blocks(inputs, bias, block_type, library);
    }
    let [x, _, scales] = &inputs;
    let (m, cols) = (x.meta.shape()[0], x.meta.shape()[1]);
    let rows = scales.meta.shape()[0];
    let empty = has_no_terms([m, rows, cols]);
    let product = if !wgsl::runs(x) || x.dtype != DType::F32 || empty {
        let [x, packed, scales] = inputs;
        let weight = CubeBackend::dequantize_blocks(packed, scales, block_type);
        linear::<CubeBackend>(x, weight, None)
    } else {
        match Matrices::of(x).filter(|_| m > cooperative::FEW_ROWS) {
            Some(matrices) => {
                let [x, packed, scales] = inputs;
                let weight = Right::blocks(packed, scales, block_type);
                return cooperative::product(matrices, Left::of(x), weight, bias, Then::Nothing);
            }
            None => launch(Units::of(x), inputs, block_type),
        }
    };
    match bias {
        Some(bias) => add_bias::<CubeBackend>(product, bias),
        None => product,
    }
}

/// The product on units of this kind; `inputs`: `x [m, cols]`, packed, scales.
pub(crate) fn launch(units: Units, inputs: [CubeTensor; 3], block_type: BlockType) -> CubeTensor {
    let (m, cols) = (inputs[0].meta.shape()[0], inputs[0].meta.shape()[1]);
    let rows = inputs[2].meta.shape()[0];
    let layout = DeviceLayout::of(block_type);
    if let Some(variant) = Narrow::of(units, m) {
        let shader = narrow(layout, variant);
        return variant.launch(shader, quads(layout), inputs, [m, rows, cols]);
    }
    let few = FEW_ROWS.into_iter().find(|&rows| m <= rows);
    let (shader, params, tiles) = match few {
        _ if units != Units::Wide => {
            let (row_tiles, tiles) = crate::linear::wgpu::tiles(m, rows);
            let params = vec![m, rows, cols / 4, row_tiles, tiles];
            (direct(layout, m == 1), params, tiles)
        }
        Some(input_rows) => {
            let tiles = rows.div_ceil(FEW_WEIGHT_ROWS);
            let params = vec![m, rows, cols / 4, tiles];
            (few_rows(layout, input_rows), params, tiles)
        }
        None => {
            let row_tiles = rows.div_ceil(TILE);
            let tiles = row_tiles * m.div_ceil(TILE);
            let params = vec![m, rows, cols / 4, row_tiles, tiles];
            (many_rows(layout), params, tiles)
        }
    };
    let params: Vec<u32> = params.into_iter().map(|value| value as u32).collect();
    let inputs = inputs.map(into_contiguous).to_vec();
    wgsl::launch(shader, inputs, Shape::new([m, rows]), &params, tiles as u32)
}
