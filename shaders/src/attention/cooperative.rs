//! Attention on cooperative matrices: `wgsl/attention_coop.wgsl`.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::mask;
use crate::cooperative::{Halves, Matrices};
use crate::wgsl::{self, Shader};

/// The widest head. The matrices of a wider one would not fit the registers of a subgroup.
const MAX_HEAD_DIM: usize = 128;

/// Subgroups of a workgroup.
const SUBGROUPS: usize = 4;

/// A variant of the shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Variant {
    matrices: Matrices,
    head_dim: usize,
}

impl Variant {
    /// The variant for heads of this width, where there is one.
    pub(crate) fn of(matrices: Matrices, head_dim: usize) -> Option<Self> {
        let fits = head_dim.is_multiple_of(matrices.side as usize) && head_dim <= MAX_HEAD_DIM;
        fits.then_some(Self { matrices, head_dim })
    }

    fn shader(self, masked: bool) -> Shader {
        let mut constants = self.matrices.constants();
        constants.push(("HEAD_DIM4", format!("{}u", self.head_dim / 4)));
        constants.push(("MASKED", masked.to_string()));
        Shader {
            name: "attention_coop",
            text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/attention_coop.wgsl")),
            constants,
        }
    }

    /// The attention of tensors of f32; shapes as those of [`attention`](super::attention).
    pub(crate) fn launch(
        self,
        [q, k, v]: [CubeTensor; 3],
        mask: Option<CubeTensor>,
        scale: f32,
    ) -> CubeTensor {
        let (shape, kv_shape) = (q.meta.shape().clone(), k.meta.shape().clone());
        let (kv_heads, kv_tokens) = (kv_shape[1], kv_shape[2]);
        let rows = shape[1] / kv_heads * shape[2]; // of a key head
        let tile = SUBGROUPS * self.matrices.side as usize;
        let row_tiles = rows.div_ceil(tile);
        let tiles = row_tiles * shape[0] * kv_heads;
        let [batch_stride, head_stride] = match &mask {
            Some(mask) => mask::strides(mask.meta.shape()),
            None => [0, 0],
        };
        let params = [
            rows,
            shape[2],
            kv_tokens,
            kv_heads,
            batch_stride,
            head_stride,
            row_tiles,
            tiles,
        ];
        let mut params = params.map(|value| value as u32).to_vec();
        params.push(scale.to_bits());

        let shader = self.shader(mask.is_some());
        let out = wgsl::empty(&q, shape, DType::F32);
        let mask = into_contiguous(mask.unwrap_or_else(|| wgsl::nothing(&q)));
        let q = Halves::of(q, self.head_dim, tile); // the last tile reads that far
        let [k, v] = [k, v].map(|tensor| Halves::of(tensor, self.head_dim, 0));
        let buffers = vec![
            q.numbers,
            q.scales,
            k.numbers,
            k.scales,
            v.numbers,
            v.scales,
            mask,
            out.clone(),
        ];
        let threads = SUBGROUPS as u32 * self.matrices.lanes;
        wgsl::run(shader, buffers, &params, tiles as u32, threads);
        out
    }
}

/// Every variant of the shader.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    Matrices::ALL.into_iter().flat_map(|matrices| {
        let head_dims = (matrices.side as usize..=MAX_HEAD_DIM).step_by(matrices.side as usize);
        let variants = head_dims.map(move |head_dim| Variant { matrices, head_dim });
        variants.flat_map(|variant| [false, true].map(|masked| variant.shader(masked)))
    })
}
