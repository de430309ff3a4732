//! Products on cooperative matrices: `wgsl/qmatmul_coop.wgsl`, for weights in blocks and dense ones.

use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::ir::HardwareProperties;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::constants::constants;
use super::device::DeviceLayout;
use crate::activations::SCALE;
use crate::cooperative::{Halves, Matrices};
use crate::wgsl::{self, Shader};
use x2i_cpu::formats::BlockType;

/// Matrices of a subgroup along the input rows: few for few rows, so that little is computed in vain.
const DOWN: [usize; 3] = [1, 2, 4];

/// Subgroups of a workgroup along the input rows.
const SUBGROUPS_DOWN: usize = 2;

/// The same of a tall workgroup, which stages a quarter less for each product.
const TALL: usize = 4;

/// Input rows from which on, and workgroups for which a product takes tall ones: enough for every multiprocessor of a
/// large GPU.
const TALL_ROWS: usize = 1024;
const TALL_GROUPS: usize = 256;

/// Subgroups of a workgroup along the weight rows.
const SUBGROUPS_ACROSS: usize = 4;

/// Matrices of a subgroup along the weight rows.
const ACROSS: usize = 2;

/// What the inner dimension is a multiple of.
pub(crate) const CHUNK: usize = 32;

/// Up to this many input rows a product is bound by reading its weight, and other kernels are as fast.
pub(crate) const FEW_ROWS: usize = 8;

/// The inputs of a product, f16.
pub(crate) struct Left {
    /// `[m, cols]`; the last columns may be in `right`.
    numbers: CubeTensor,
    right: Option<CubeTensor>,
    /// `[m]`, or one for all rows.
    scales: CubeTensor,
}

impl Left {
    /// Rows of f32; zeros fill them up to whole chunks.
    pub(crate) fn of(x: CubeTensor) -> Self {
        let halves = Halves::padded(x);
        Self {
            numbers: halves.numbers,
            right: None,
            scales: halves.scales,
        }
    }

    /// Sixteenths in f16, `[m, cols]`, and `[m, more]` beside them. Both are whole chunks together.
    pub(crate) fn sixteenths(numbers: CubeTensor, right: Option<CubeTensor>) -> Self {
        Self {
            scales: wgsl::number(&numbers, SCALE),
            numbers: into_contiguous(numbers),
            right: right.map(into_contiguous),
        }
    }

    /// Rows, columns of the first part, and all columns.
    fn sizes(&self) -> [usize; 3] {
        let shape = self.numbers.meta.shape();
        let right = self.right.as_ref().map_or(0, |right| right.meta.shape()[1]);
        [shape[0], shape[1], shape[1] + right]
    }
}

/// The weight of a product, `[rows, cols]`.
pub(crate) struct Right {
    packed: CubeTensor,
    scales: CubeTensor, // [rows, scales of a row]
    layout: DeviceLayout,
}

impl Right {
    /// A weight in blocks.
    pub(crate) fn blocks(packed: CubeTensor, scales: CubeTensor, block_type: BlockType) -> Self {
        Self {
            packed: into_contiguous(packed),
            scales: into_contiguous(scales),
            layout: DeviceLayout::of(block_type),
        }
    }

    /// A dense weight of f32, which becomes f16 for this product, with a power of two for each row.
    pub(crate) fn dense(weight: CubeTensor) -> Self {
        let halves = Halves::padded(weight);
        Self {
            packed: halves.numbers,
            scales: halves.scales,
            layout: DeviceLayout::of(BlockType::F16),
        }
    }
}

/// What is done with a product and its bias before it is written.
#[allow(clippy::large_enum_variant, reason = "a launch has one")]
pub(crate) enum Then {
    /// It is written: `[m, rows]` f32.
    Nothing,
    /// Its GELU is: `[m, rows]`, sixteenths in f16.
    Gelu,
    /// The residual plus gate times the product is: as the residual, f32.
    Gated {
        /// `[batch, tokens, rows]`, f32.
        residual: CubeTensor,
        /// `[batch, 1, rows]`, f32.
        gate: CubeTensor,
    },
}

/// The kinds of [`Then`] with what the shader is compiled for besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    Plain,
    Biased,
    Gelu,
    Gated,
    GatedJoined,
}

impl Finish {
    /// What follows a product with a bias or without, of inputs in one part or two.
    ///
    /// # Panics
    /// Where no shader does that.
    fn of(then: &Then, biased: bool, joined: bool) -> Self {
        match (then, biased, joined) {
            (Then::Nothing, false, false) => Self::Plain,
            (Then::Nothing, true, false) => Self::Biased,
            (Then::Gelu, true, false) => Self::Gelu,
            (Then::Gated { .. }, true, false) => Self::Gated,
            (Then::Gated { .. }, true, true) => Self::GatedJoined,
            _ => panic!("a product that no shader makes"),
        }
    }

    const ALL: [Self; 5] = [
        Self::Plain,
        Self::Biased,
        Self::Gelu,
        Self::Gated,
        Self::GatedJoined,
    ];

    fn constants(self) -> Vec<(&'static str, String)> {
        let half = self == Self::Gelu;
        let element = if half { "f16" } else { "f32" };
        let gated = matches!(self, Self::Gated | Self::GatedJoined);
        vec![
            ("BIASED", (self != Self::Plain).to_string()),
            ("JOINED", (self == Self::GatedJoined).to_string()),
            ("GELU", half.to_string()),
            ("GATED", gated.to_string()),
            ("HALF", half.to_string()),
            ("Element", element.to_owned()),
        ]
    }
}

/// A variant of the shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    matrices: Matrices,
    down: usize,
    subgroups_down: usize,
}

impl Variant {
    /// All variants, those for few input rows first.
    fn all(matrices: Matrices) -> impl Iterator<Item = Self> {
        let sizes = DOWN.map(|down| (down, SUBGROUPS_DOWN)).into_iter();
        let variants = sizes.chain([(DOWN[2], TALL)]);
        let variants = variants.map(move |(down, subgroups_down)| Self {
            matrices,
            down,
            subgroups_down,
        });
        // Each lane stages a part of the inputs.
        variants.filter(move |variant| variant.rows() >= matrices.lanes as usize)
    }

    /// The variant for a product of `m` input rows on a device.
    fn of(matrices: Matrices, [m, rows]: [usize; 2], hardware: &HardwareProperties) -> Self {
        let all: Vec<Self> = Self::all(matrices).collect();
        let [.., wide, tall] = all[..] else {
            panic!("there are a wide and a tall variant");
        };
        let fits = tall.threads() <= hardware.max_units_per_cube
            && tall.memory() <= hardware.max_shared_memory_size;
        if fits && m >= TALL_ROWS && tall.groups(m, rows) >= TALL_GROUPS {
            return tall;
        }
        let enough = all.into_iter().find(|variant| m <= variant.rows());
        enough.filter(|&variant| variant != tall).unwrap_or(wide)
    }

    /// Input rows of a workgroup.
    fn rows(self) -> usize {
        self.subgroups_down * self.down * self.matrices.side as usize
    }

    /// Weight rows of a workgroup.
    fn weight_rows(self) -> usize {
        SUBGROUPS_ACROSS * ACROSS * self.matrices.side as usize
    }

    /// Workgroups of a product.
    fn groups(self, m: usize, rows: usize) -> usize {
        rows.div_ceil(self.weight_rows()) * m.div_ceil(self.rows())
    }

    /// Threads of a workgroup.
    fn threads(self) -> u32 {
        (self.subgroups_down * SUBGROUPS_ACROSS) as u32 * self.matrices.lanes
    }

    /// Bytes of workgroup memory: padded tiles of f16, a matrix of f32 for each subgroup, a table and sizes.
    fn memory(self) -> usize {
        let tiles = (self.rows() + self.weight_rows()) * (CHUNK + 8) * 2;
        let side = self.matrices.side as usize;
        tiles + self.subgroups_down * SUBGROUPS_ACROSS * side * side * 4 + 128
    }

    fn shader(self, layout: DeviceLayout, finish: Finish) -> Shader {
        let mut constants = constants(layout);
        constants.extend(self.matrices.constants());
        constants.push(("DOWN", format!("{}u", self.down)));
        constants.push(("SUBGROUPS_DOWN", format!("{}u", self.subgroups_down)));
        constants.extend(finish.constants());
        Shader {
            name: "qmatmul_coop",
            text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/qmatmul_coop.wgsl")),
            constants,
        }
    }
}

/// The product; `bias` is `[rows]`, f32, and is there unless [`Then::Nothing`] is done.
///
/// # Panics
/// When the inner dimension is not a multiple of [`CHUNK`], or inputs in two parts are not gated.
pub(crate) fn product(
    matrices: Matrices,
    x: Left,
    weight: Right,
    bias: Option<CubeTensor>,
    then: Then,
) -> CubeTensor {
    let [m, left, cols] = x.sizes();
    assert!(
        cols.is_multiple_of(CHUNK),
        "{cols} columns are no whole chunks"
    );
    let rows = weight.scales.meta.shape()[0];
    let finish = Finish::of(&then, bias.is_some(), x.right.is_some());
    let hardware = &weight.scales.client.properties().hardware;
    let variant = Variant::of(matrices, [m, rows], hardware);
    let row_tiles = rows.div_ceil(variant.weight_rows());
    let tiles = variant.groups(m, rows);
    let nothing = wgsl::nothing(&weight.scales);
    let (shape, dtype) = match &then {
        Then::Nothing => (Shape::new([m, rows]), DType::F32),
        Then::Gelu => (Shape::new([m, rows]), DType::F16),
        Then::Gated { residual, .. } => (residual.meta.shape().clone(), DType::F32),
    };
    let out = wgsl::empty(&weight.scales, shape.clone(), dtype);
    let (residual, gate, tokens, gate_stride) = match then {
        Then::Gated { residual, gate } => {
            let (gate, stride) = wgsl::rows(gate);
            (into_contiguous(residual), gate, shape[1], stride)
        }
        _ => (nothing.clone(), nothing.clone(), 1, 0),
    };
    let x_scale_stride = usize::from(x.scales.meta.num_elements() > 1);
    let params = [
        m,
        rows,
        cols / 4,
        row_tiles,
        tiles,
        x_scale_stride,
        left / 4,
        tokens,
        gate_stride,
    ];
    let buffers = vec![
        x.numbers,
        x.right.unwrap_or_else(|| nothing.clone()),
        x.scales,
        weight.packed,
        weight.scales,
        bias.map_or(nothing, into_contiguous),
        residual,
        gate,
        out.clone(),
    ];
    let shader = variant.shader(weight.layout, finish);
    let params = params.map(|value| value as u32);
    wgsl::run(shader, buffers, &params, tiles as u32, variant.threads());
    out
}

/// Every variant of the shader.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    DeviceLayout::all().flat_map(|layout| {
        let variants = Matrices::ALL.into_iter().flat_map(Variant::all);
        variants.flat_map(move |variant| Finish::ALL.map(|finish| variant.shader(layout, finish)))
    })
}
