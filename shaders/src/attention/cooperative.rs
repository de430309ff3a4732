//! Attention on cooperative matrices: `wgsl/attention_coop.wgsl`.

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::mask;
use crate::cooperative::{Halves, Matrices};
use crate::wgsl::{self, Shader};

/// The widest head. The matrices of a wider one would not fit the registers of a subgroup.
const MAX_HEAD_DIM: usize = 128;

/// Subgroups of a workgroup.
const SUBGROUPS: usize = 4;

/// What the shader reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// f32 out of halves with scales.
    Plain,
    /// The same with a mask.
    Masked,
    /// Activations of 16 bits.
    Half,
}

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
        (fits && Self::takes(matrices)).then_some(Self { matrices, head_dim })
    }

    /// Lanes share the softmax of a row.
    fn takes(matrices: Matrices) -> bool {
        matrices.lanes.is_multiple_of(matrices.side)
    }

    fn shader(self, form: Form) -> Shader {
        let mut constants = self.matrices.constants();
        let half = form == Form::Half;
        constants.push(("HEAD_DIM4", format!("{}u", self.head_dim / 4)));
        constants.push(("MASKED", (form == Form::Masked).to_string()));
        constants.push(("HALF", half.to_string()));
        constants.push(("Element", if half { "f16" } else { "f32" }.to_owned()));
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
        let sizes = Sizes {
            batch: shape[0],
            heads: shape[1],
            q_tokens: shape[2],
            kv_heads: kv_shape[1],
            kv_tokens: kv_shape[2],
        };
        let form = if mask.is_some() {
            Form::Masked
        } else {
            Form::Plain
        };
        let out = wgsl::empty(&q, shape, DType::F32);
        let q = Halves::of(q, self.head_dim, self.rows()); // the last tile reads that far
        let [k, v] = [k, v].map(|tensor| Halves::of(tensor, self.head_dim, 0));
        self.run(form, [q, k, v], mask, out.clone(), sizes, scale);
        out
    }

    /// The attention of activations of 16 bits, `[batch, heads, tokens, head_dim]` each: the same,
    /// `[batch, tokens, heads * head_dim]`. Behind the queries there is place for [`rows`](Self::rows) more.
    pub(crate) fn launch_halves(
        self,
        qkv: [CubeTensor; 3],
        [batch, heads, tokens]: [usize; 3],
        scale: f32,
    ) -> CubeTensor {
        let sizes = Sizes {
            batch,
            heads,
            q_tokens: tokens,
            kv_heads: heads,
            kv_tokens: tokens,
        };
        let shape = Shape::new([batch, tokens, heads * self.head_dim]);
        let out = wgsl::empty(&qkv[0], shape, DType::F16);
        let nothing = wgsl::nothing(&qkv[0]);
        let halves = qkv.map(|numbers| Halves {
            numbers,
            scales: nothing.clone(),
        });
        self.run(Form::Half, halves, None, out.clone(), sizes, scale);
        out
    }

    /// Query rows of a workgroup.
    pub(crate) fn rows(self) -> usize {
        SUBGROUPS * self.matrices.side as usize
    }

    fn run(
        self,
        form: Form,
        [q, k, v]: [Halves; 3],
        mask: Option<CubeTensor>,
        out: CubeTensor,
        sizes: Sizes,
        scale: f32,
    ) {
        let rows = sizes.heads / sizes.kv_heads * sizes.q_tokens; // of a key head
        let row_tiles = rows.div_ceil(self.rows());
        let tiles = row_tiles * sizes.batch * sizes.kv_heads;
        let [batch_stride, head_stride] = match &mask {
            Some(mask) => mask::strides(mask.meta.shape()),
            None => [0, 0],
        };
        let params = [
            rows,
            sizes.q_tokens,
            sizes.kv_tokens,
            sizes.kv_heads,
            batch_stride,
            head_stride,
            row_tiles,
            tiles,
        ];
        let mut params = params.map(|value| value as u32).to_vec();
        params.push(scale.to_bits());
        let mask = into_contiguous(mask.unwrap_or_else(|| wgsl::nothing(&out)));
        let buffers = vec![
            q.numbers, q.scales, k.numbers, k.scales, v.numbers, v.scales, mask, out,
        ];
        let threads = SUBGROUPS as u32 * self.matrices.lanes;
        wgsl::run(self.shader(form), buffers, &params, tiles as u32, threads);
    }
}

/// The sizes of an attention.
struct Sizes {
    batch: usize,
    heads: usize,
    q_tokens: usize,
    kv_heads: usize,
    kv_tokens: usize,
}

/// Every variant of the shader.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    let taken = Matrices::ALL.into_iter();
    let taken = taken.filter(|&matrices| Variant::takes(matrices));
    taken.flat_map(|matrices| {
        let head_dims = (matrices.side as usize..=MAX_HEAD_DIM).step_by(matrices.side as usize);
        let variants = head_dims.map(move |head_dim| Variant { matrices, head_dim });
        variants.flat_map(|variant| {
            [Form::Plain, Form::Masked, Form::Half].map(|form| variant.shader(form))
        })
    })
}
