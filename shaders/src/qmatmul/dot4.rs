//! Products of whole numbers, four bytes at a time: `wgsl/qmatmul_dot4.wgsl`, for narrow vector units with subgroups.
//!
//! Inputs are rounded to 8 bits with a scale for every 32, as the CPU rounds them for [`InputBits::AsWeights`].

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::GROUP;
use super::block_type::BlockType;
use super::device::DeviceLayout;
use crate::integer::{InputBits, WIDE};
use crate::linear::wgpu::Narrow;
use crate::wgsl::{self, Shader};

/// Input rows from which on rounding them pays.
const MANY_ROWS: usize = 16;

/// True for weights that the shader takes: whole numbers with a scale, and perhaps an offset, for every 32.
const fn takes_layout(layout: DeviceLayout) -> bool {
    layout.table.is_none() && layout.group == GROUP && !layout.row_scales()
}

/// True for a product that may take the shader: of many inputs, wide as those of large models, which need not be exact.
pub(crate) fn takes([m, cols]: [usize; 2], block_type: BlockType, input_bits: InputBits) -> bool {
    input_bits == InputBits::AsWeights
        && m > MANY_ROWS
        && cols >= WIDE
        && takes_layout(DeviceLayout::of(block_type))
}

fn bytes() -> Shader {
    Shader {
        name: "bytes",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/bytes.wgsl")),
        constants: Vec::new(),
    }
}

fn shader(layout: DeviceLayout, narrow: Narrow) -> Shader {
    let mut constants = narrow.constants();
    constants.extend([
        ("NIBBLES", layout.nibbles.to_string()),
        ("ZERO", format!("{}u", layout.zero)),
        ("OFFSETS", layout.offsets.to_string()),
    ]);
    Shader {
        name: "qmatmul_dot4",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/qmatmul_dot4.wgsl")),
        constants,
    }
}

/// Every variant of both shaders.
pub(super) fn shaders() -> impl Iterator<Item = Shader> {
    let layouts = DeviceLayout::all().filter(|&layout| takes_layout(layout));
    let products =
        layouts.flat_map(|layout| Narrow::all().map(move |narrow| shader(layout, narrow)));
    products.chain([bytes()])
}

/// Rows of f32 as bytes.
struct Bytes {
    /// `[m, cols / 4]`, u32.
    numbers: CubeTensor,
    /// `[m, groups, 2]`: a scale, and the sum of the group's numbers.
    scales: CubeTensor,
}

impl Bytes {
    fn of(x: CubeTensor) -> Self {
        let x = into_contiguous(x);
        let (m, cols) = (x.meta.shape()[0], x.meta.shape()[1]);
        let groups = m * cols / GROUP;
        let numbers = wgsl::empty(&x, Shape::new([m, cols / 4]), DType::U32);
        let scales = wgsl::empty(&x, Shape::new([groups, 2]), DType::F32);
        let buffers = vec![x, numbers.clone(), scales.clone()];
        let groups = groups as u32;
        let workgroups = groups.div_ceil(wgsl::THREADS);
        wgsl::run(bytes(), buffers, &[groups], workgroups, wgsl::THREADS);
        Self { numbers, scales }
    }
}

/// The product; `inputs`: `x [m, cols]`, packed, scales.
pub(crate) fn launch(narrow: Narrow, inputs: [CubeTensor; 3], block_type: BlockType) -> CubeTensor {
    let [x, packed, scales] = inputs;
    let (m, cols) = (x.meta.shape()[0], x.meta.shape()[1]);
    let rows = scales.meta.shape()[0];
    let x = Bytes::of(x);
    let (row_tiles, tiles) = narrow.tiles(m, rows);
    let params = [m, rows, cols / GROUP, row_tiles, tiles].map(|value| value as u32);
    let out = wgsl::empty(&scales, Shape::new([m, rows]), DType::F32);
    let buffers = vec![
        x.numbers,
        x.scales,
        into_contiguous(packed),
        into_contiguous(scales),
        out.clone(),
    ];
    let shader = shader(DeviceLayout::of(block_type), narrow);
    wgsl::run(
        shader,
        buffers,
        &params,
        narrow.workgroups(tiles),
        wgsl::THREADS,
    );
    out
}
