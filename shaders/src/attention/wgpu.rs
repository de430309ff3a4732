//! Attention on a wgpu device that compiles WGSL: `wgsl/attention.wgsl`.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use crate::wgsl::{self, Shader};

/// The widest head whose output tile fits the registers that the shader counts on.
const MAX_HEAD_DIM: usize = 256;

/// Query rows of a workgroup for each row of a thread.
const ROWS: usize = 16;

/// Rows of a thread: many, and where 16 rows are all there are.
const ROW_GROUPS: [usize; 2] = [4, 1];

fn shader(head_dim: usize, row_group: usize, masked: bool) -> Shader {
    Shader {
        name: "attention",
        text: include_str!("../../wgsl/attention.wgsl"),
        constants: vec![
            ("HEAD_DIM4", format!("{}u", head_dim / 4)),
            ("ROW_GROUP", format!("{row_group}u")),
            ("MASKED", masked.to_string()),
        ],
    }
}

/// Every variant that [`attention`] may launch.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    (4..=MAX_HEAD_DIM).step_by(4).flat_map(|head_dim| {
        ROW_GROUPS.into_iter().flat_map(move |row_group| {
            [false, true].map(|masked| shader(head_dim, row_group, masked))
        })
    })
}

pub(crate) fn attention(
    q: CubeTensor,
    k: CubeTensor,
    v: CubeTensor,
    mask: Option<CubeTensor>,
    scale: f32,
) -> CubeTensor {
    let (shape, kv_shape) = (q.meta.shape().clone(), k.meta.shape().clone());
    let (batch, heads, q_tokens, head_dim) = (shape[0], shape[1], shape[2], shape[3]);
    let (kv_heads, kv_tokens) = (kv_shape[1], kv_shape[2]);
    let all_f32 = [&q, &k, &v]
        .into_iter()
        .chain(&mask)
        .all(|tensor| tensor.dtype == DType::F32);
    if !wgsl::runs(&q)
        || !head_dim.is_multiple_of(4)
        || head_dim > MAX_HEAD_DIM
        || shape.num_elements() == 0
        || !all_f32
    {
        return super::composed::<CubeBackend>(q, k, v, mask, scale);
    }

    let rows = heads / kv_heads * q_tokens; // of a key head
    let row_group = ROW_GROUPS[usize::from(rows <= ROWS)];
    let row_tiles = rows.div_ceil(ROWS * row_group);
    let tiles = row_tiles * batch * kv_heads;
    let [mask_batch_stride, mask_head_stride] = match &mask {
        Some(mask) => mask_strides(mask.meta.shape()),
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

    let shader = shader(head_dim, row_group, mask.is_some());
    // The binding needs a buffer even where the shader reads no mask.
    let mask = mask.unwrap_or_else(|| wgsl::nothing(&q));
    let inputs = [q, k, v, mask].map(into_contiguous).to_vec();
    wgsl::launch(shader, inputs, shape, &params, tiles as u32)
}

/// Elements from one batch and one head of a mask to the next; 0 where there is one.
fn mask_strides(shape: &Shape) -> [usize; 2] {
    let tile = shape[2] * shape[3];
    [
        shape[1] * tile * usize::from(shape[0] > 1),
        tile * usize::from(shape[1] > 1),
    ]
}
