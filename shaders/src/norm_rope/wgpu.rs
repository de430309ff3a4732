//! Norm and rotation on a wgpu device that compiles WGSL: `wgsl/norm_rope.wgsl`.

use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{NormRopeOps, composed};
use crate::wgsl::{self, Shader};

/// Rows of a workgroup; a row is one head of one token.
const ROWS: usize = 16;

fn shader(joint: bool) -> Shader {
    Shader {
        name: "norm_rope",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/norm_rope.wgsl")),
        constants: vec![("JOINT", joint.to_string())],
    }
}

/// Both variants.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [false, true].into_iter().map(shader)
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
    let (batch, x_tokens, heads) = (shape[0], shape[1], shape[2] / head_dim);
    let shape = Shape::new([batch, heads, tokens, head_dim]);
    let rows = batch * heads * tokens;
    let joint = parts.len() > 1;
    let (mut inputs, mut strides) = (vec![], vec![]);
    for (x, weight) in parts {
        let (x, stride) = wgsl::rows(x);
        inputs.extend([x, into_contiguous(weight)]);
        strides.push(stride);
    }
    if !joint {
        // The bindings need buffers, although this variant reads no second stream.
        inputs.extend([wgsl::nothing(&cos), wgsl::nothing(&cos)]);
        strides.push(0);
    }
    inputs.extend([cos, sin].map(into_contiguous));
    let sizes = [
        rows, heads, tokens, x_tokens, head_dim, strides[0], strides[1],
    ];
    let mut params = sizes.map(|value| value as u32).to_vec();
    params.push(eps.to_bits());
    let groups = rows.div_ceil(ROWS) as u32;
    wgsl::launch(shader(joint), inputs, shape, &params, groups)
}
