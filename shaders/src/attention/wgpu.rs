//! Attention on a wgpu device that compiles WGSL: [`cooperative`] matrices where the device has them,
//! `wgsl/attention_narrow.wgsl` on narrow vector units that have subgroups, `wgsl/attention.wgsl` on all others.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{AttentionOps, composed, cooperative, mask};
use crate::cooperative::Matrices;
#[cfg(not(target_family = "wasm"))]
use crate::library::{self, Library};
use crate::units::{NARROW_LANES, Units};
use crate::wgsl::{self, Shader, THREADS};
use x2i_cpu::integer::InputBits;

/// The widest head. The output tile of a wider one would not fit the registers that the shader assumes.
const MAX_HEAD_DIM: usize = 256;

/// Query rows of a workgroup, for each row of a thread.
const ROWS: usize = 16;

/// Rows of a thread: the usual number, and the number for up to 16 query rows.
const ROW_GROUPS: [usize; 2] = [4, 1];

/// Query rows of a subgroup of a narrow unit.
const NARROW_ROWS: usize = 8;

/// Columns of one of its lanes.
const NARROW_COLUMNS: usize = 16;

/// Which shader runs, and the constants that depend on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Tiles in workgroup memory. The value is the rows of a thread.
    Tiled(usize),
    /// Independent subgroups. The value is the lanes of a subgroup.
    Narrow(u32),
}

impl Variant {
    /// The variant for a device and a number of query rows of a key head.
    fn of(units: Units, rows: usize) -> Self {
        match units {
            Units::NarrowSubgroups(lanes) => Self::Narrow(lanes),
            Units::Wide | Units::Narrow => Self::Tiled(ROW_GROUPS[usize::from(rows <= ROWS)]),
        }
    }

    fn shader(self, head_dim: usize, masked: bool, element: &str) -> Shader {
        let (name, text, own) = match self {
            Self::Tiled(row_group) => (
                "attention",
                include_str!(concat!(env!("OUT_DIR"), "/wgsl/attention.wgsl")),
                ("ROW_GROUP", format!("{row_group}u")),
            ),
            Self::Narrow(lanes) => (
                "attention_narrow",
                include_str!(concat!(env!("OUT_DIR"), "/wgsl/attention_narrow.wgsl")),
                ("LANES", format!("{lanes}u")),
            ),
        };
        Shader {
            name,
            text,
            constants: vec![
                ("HEAD_DIM4", format!("{}u", head_dim / 4)),
                own,
                ("MASKED", masked.to_string()),
                ("Element", element.to_owned()),
            ],
        }
    }

    /// Tiles along the query rows of a key head.
    fn row_tiles(self, rows: usize) -> usize {
        match self {
            Self::Tiled(row_group) => rows.div_ceil(ROWS * row_group),
            Self::Narrow(_) => rows.div_ceil(NARROW_ROWS),
        }
    }

    /// Parts of the columns of a head. Each part has tiles of its own.
    fn parts(self, head_dim: usize) -> usize {
        match self {
            Self::Tiled(_) => 1,
            Self::Narrow(lanes) => head_dim.div_ceil(NARROW_COLUMNS * lanes as usize),
        }
    }

    /// Workgroups for a number of tiles.
    fn groups(self, tiles: usize) -> u32 {
        match self {
            Self::Tiled(_) => tiles as u32,
            Self::Narrow(lanes) => (tiles as u32).div_ceil(THREADS / lanes),
        }
    }
}

/// Every variant of the shaders.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    let tiled = ROW_GROUPS.map(Variant::Tiled).into_iter();
    let variants = tiled.chain(NARROW_LANES.map(Variant::Narrow));
    let own = variants.flat_map(|variant| {
        (4..=MAX_HEAD_DIM).step_by(4).flat_map(move |head_dim| {
            [("f32", false), ("f32", true), ("f16", false), ("f16", true)]
                .map(|(element, masked)| variant.shader(head_dim, masked, element))
        })
    });
    own.chain(cooperative::shaders())
}

impl AttentionOps for CubeBackend {
    fn flash_attention(
        q: CubeTensor,
        k: CubeTensor,
        v: CubeTensor,
        scale: f32,
        _: InputBits,
    ) -> CubeTensor {
        attention(q, k, v, None, scale)
    }

    fn flash_attention_masked(
        q: CubeTensor,
        k: CubeTensor,
        v: CubeTensor,
        mask: CubeTensor,
        scale: f32,
    ) -> CubeTensor {
        attention(q, k, v, Some(mask), scale)
    }
}

fn attention(
    q: CubeTensor,
    k: CubeTensor,
    v: CubeTensor,
    mask: Option<CubeTensor>,
    scale: f32,
) -> CubeTensor {
    #[cfg(not(target_family = "wasm"))]
    if let Some(library) =
        Library::of(&q).filter(|_| q.dtype == DType::F32 && q.meta.num_elements() > 0)
    {
        return library::attention([q, k, v], mask, scale, library);
    }
    let head_dim = q.meta.shape()[3];
    let one_type = [&k, &v]
        .into_iter()
        .chain(&mask)
        .all(|tensor| tensor.dtype == q.dtype);
    if !wgsl::runs(&q)
        || !head_dim.is_multiple_of(4)
        || head_dim > MAX_HEAD_DIM
        || q.meta.shape().num_elements() == 0
        || element(q.dtype).is_none()
        || (q.dtype == DType::F16 && !wgsl::has_f16(&q))
        || !one_type
    {
        return composed::attention::<CubeBackend>(q, k, v, mask, scale);
    }
    let rows = q.meta.shape()[1] / k.meta.shape()[1] * q.meta.shape()[2];
    let cooperative = Matrices::of(&q)
        .filter(|_| q.dtype == DType::F32 && rows > ROWS)
        .and_then(|matrices| cooperative::Variant::of(matrices, head_dim));
    if let Some(variant) = cooperative {
        return variant.launch([q, k, v], mask, scale);
    }
    let variant = Variant::of(Units::of(&q), rows);
    launch(variant, [q, k, v], mask, scale)
}

/// The WGSL name of a dtype that the shaders take.
fn element(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("f32"),
        DType::F16 => Some("f16"),
        _ => None,
    }
}

/// Launches a variant. All tensors have one dtype, which the shaders take.
pub(crate) fn launch(
    variant: Variant,
    [q, k, v]: [CubeTensor; 3],
    mask: Option<CubeTensor>,
    scale: f32,
) -> CubeTensor {
    let (shape, kv_shape) = (q.meta.shape().clone(), k.meta.shape().clone());
    let (batch, heads, q_tokens, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let (kv_heads, kv_tokens) = (kv_shape[1], kv_shape[2]);
    let rows = heads / kv_heads * q_tokens; // of a key head
    let row_tiles = variant.row_tiles(rows);
    let tiles = row_tiles * variant.parts(head_dim) * batch * kv_heads;
    let [mask_batch_stride, mask_head_stride] = match &mask {
        Some(mask) => mask::strides(mask.meta.shape()),
        None => [0, 0],
    };
    let params = [
        rows,
        q_tokens,
        kv_tokens,
        kv_heads,
        mask_batch_stride,
        mask_head_stride,
        row_tiles,
        tiles,
        head_dim / 4,
    ];
    let mut params = params.map(|value| value as u32).to_vec();
    params.push(scale.to_bits());

    let element = element(q.dtype).expect("checked by the caller");
    let shader = variant.shader(head_dim, mask.is_some(), element);
    // The binding needs a buffer, although an unmasked variant reads no mask.
    let mask = mask.unwrap_or_else(|| wgsl::nothing(&q));
    let inputs = [q, k, v, mask].map(into_contiguous).to_vec();
    wgsl::launch(shader, inputs, shape, &params, variant.groups(tiles))
}
