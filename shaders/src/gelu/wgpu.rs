//! GELU on a wgpu device that compiles WGSL: `wgsl/gelu.wgsl`.

use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{GeluOps, composed};
use crate::wgsl::{self, Shader};

fn shader(after: bool) -> Shader {
    Shader {
        name: "gelu",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/gelu.wgsl")),
        constants: vec![("AFTER", after.to_string())],
    }
}

/// Both variants.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [false, true].into_iter().map(shader)
}

impl GeluOps for CubeBackend {
    fn gelu_tanh(x: CubeTensor) -> CubeTensor {
        if !wgsl::takes([&x]) {
            return composed::gelu_tanh::<Self>(x);
        }
        let shape = x.meta.shape().clone();
        let count = shape.num_elements();
        let inputs = vec![wgsl::nothing(&x), into_contiguous(x)];
        launch(false, inputs, shape, [count, 0, 0, count])
    }

    fn gelu_tanh_after(left: CubeTensor, right: CubeTensor) -> CubeTensor {
        if !wgsl::takes([&left, &right]) {
            return composed::gelu_tanh_after::<Self>(left, right);
        }
        let shape = left.meta.shape();
        let (batch, tokens, left_width) = (shape[0], shape[1], shape[2]);
        let width = left_width + right.meta.shape()[2];
        let ((left, left_stride), (right, right_stride)) = (wgsl::rows(left), wgsl::rows(right));
        launch(
            true,
            vec![left, right],
            Shape::new([batch, tokens, width]),
            [width, left_width, left_stride, right_stride],
        )
    }
}

/// `sizes`: the shader's parameters from `width` on.
fn launch(after: bool, inputs: Vec<CubeTensor>, shape: Shape, sizes: [usize; 4]) -> CubeTensor {
    let count = shape.num_elements() as u32;
    let mut params = vec![count];
    params.extend(sizes.map(|value| value as u32));
    let groups = count.div_ceil(wgsl::THREADS);
    wgsl::launch(shader(after), inputs, shape, &params, groups)
}
