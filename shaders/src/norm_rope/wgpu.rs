//! Norm and rotation on a wgpu device that compiles WGSL: `wgsl/norm_rope.wgsl`.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{NormRopeOps, composed};
use crate::wgsl::{self, Shader};

/// Rows of a workgroup; a row is one head of one token.
const ROWS: usize = 16;

/// What the shader makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Norm and rotation, f32.
    Wide,
    /// The same as activations of 16 bits.
    Half,
    /// Heads before tokens, and nothing else, as activations of 16 bits.
    PlainHalf,
}

fn shader(form: Form, joint: bool) -> Shader {
    let half = form != Form::Wide;
    Shader {
        name: "norm_rope",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/norm_rope.wgsl")),
        constants: vec![
            ("JOINT", joint.to_string()),
            ("PLAIN", (form == Form::PlainHalf).to_string()),
            ("HALF", half.to_string()),
            ("Element", if half { "f16" } else { "f32" }.to_owned()),
        ],
    }
}

/// Every variant.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    let forms = [Form::Wide, Form::Half, Form::PlainHalf].into_iter();
    let forms = forms.filter(|&form| form == Form::Wide || !cfg!(target_family = "wasm"));
    forms.flat_map(|form| [false, true].map(|joint| shader(form, joint)))
}

impl NormRopeOps for CubeBackend {
    fn norm_rope(
        x: CubeTensor,
        weight: CubeTensor,
        cos: CubeTensor,
        sin: CubeTensor,
        eps: f32,
    ) -> CubeTensor {
        norm_rope(vec![(x, weight)], cos, sin, eps)
    }

    fn norm_rope_joint(
        x: CubeTensor,
        weight: CubeTensor,
        more: CubeTensor,
        more_weight: CubeTensor,
        cos: CubeTensor,
        sin: CubeTensor,
        eps: f32,
    ) -> CubeTensor {
        norm_rope(vec![(x, weight), (more, more_weight)], cos, sin, eps)
    }
}

/// `parts`: `x [batch, tokens, heads * head_dim]` and `weight [head_dim]` of one or two streams.
fn norm_rope(
    parts: Vec<(CubeTensor, CubeTensor)>,
    cos: CubeTensor,
    sin: CubeTensor,
    eps: f32,
) -> CubeTensor {
    let tensors = parts.iter().flat_map(|(x, weight)| [x, weight]);
    if !wgsl::takes(tensors.chain([&cos, &sin])) {
        return composed::norm_rope::<CubeBackend>(parts, cos, sin, eps);
    }
    let [tokens, head_dim] = [cos.meta.shape()[0], cos.meta.shape()[1]];
    let shape = parts[0].0.meta.shape();
    let (batch, heads) = (shape[0], shape[2] / head_dim);
    let out = Shape::new([batch, heads, tokens, head_dim]);
    let out = wgsl::empty(&cos, out, DType::F32);
    run(Form::Wide, parts, [cos, sin], eps, [tokens, head_dim], out)
}

/// The same of tensors of f32 that are not empty, as activations of 16 bits
/// `[batch, heads, tokens, head_dim]`, behind which there is place for `more` rows of a head.
pub(crate) fn halves(
    parts: Vec<(CubeTensor, CubeTensor)>,
    cos: CubeTensor,
    sin: CubeTensor,
    eps: f32,
    more: usize,
) -> CubeTensor {
    let sizes = [cos.meta.shape()[0], cos.meta.shape()[1]];
    let out = rows_of_halves(&parts, sizes, more);
    run(Form::Half, parts, [cos, sin], eps, sizes, out)
}

/// Heads of `head_dim` before tokens as [`halves`], without norm and rotation.
pub(crate) fn plain_halves(parts: Vec<CubeTensor>, head_dim: usize) -> CubeTensor {
    let nothing = wgsl::nothing(&parts[0]);
    let tokens = parts.iter().map(|part| part.meta.shape()[1]).sum();
    let parts = parts.into_iter().map(|part| (part, nothing.clone()));
    let (parts, sizes) = (parts.collect::<Vec<_>>(), [tokens, head_dim]);
    let out = rows_of_halves(&parts, sizes, 0);
    let rotation = [nothing.clone(), nothing];
    run(Form::PlainHalf, parts, rotation, 0.0, sizes, out)
}

/// Space for activations of 16 bits.
fn rows_of_halves(
    parts: &[(CubeTensor, CubeTensor)],
    [tokens, head_dim]: [usize; 2],
    more: usize,
) -> CubeTensor {
    let shape = parts[0].0.meta.shape();
    let rows = shape[0] * shape[2] / head_dim * tokens;
    let shape = Shape::new([rows + more, head_dim]);
    wgsl::empty(&parts[0].0, shape, DType::F16)
}

/// Fills `out` with the rows of all heads; `sizes` are all tokens and the width of a head.
fn run(
    form: Form,
    parts: Vec<(CubeTensor, CubeTensor)>,
    rotation: [CubeTensor; 2],
    eps: f32,
    [tokens, head_dim]: [usize; 2],
    out: CubeTensor,
) -> CubeTensor {
    let shape = parts[0].0.meta.shape();
    let (batch, x_tokens, heads) = (shape[0], shape[1], shape[2] / head_dim);
    let rows = batch * heads * tokens;
    let joint = parts.len() > 1;
    let (mut buffers, mut strides) = (vec![], vec![]);
    for (x, weight) in parts {
        let (x, stride) = wgsl::rows(x);
        buffers.extend([x, into_contiguous(weight)]);
        strides.push(stride);
    }
    if !joint {
        // The bindings need buffers, although this variant reads no second stream.
        buffers.extend([wgsl::nothing(&out), wgsl::nothing(&out)]);
        strides.push(0);
    }
    buffers.extend(rotation.map(into_contiguous));
    buffers.push(out.clone());
    let sizes = [
        rows, heads, tokens, x_tokens, head_dim, strides[0], strides[1],
    ];
    let mut params = sizes.map(|value| value as u32).to_vec();
    params.push(eps.to_bits());
    let groups = rows.div_ceil(ROWS) as u32;
    let shader = shader(form, joint);
    wgsl::run(shader, buffers, &params, groups, wgsl::THREADS);
    out
}
