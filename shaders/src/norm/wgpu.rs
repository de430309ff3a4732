//! Norms on a wgpu device that compiles WGSL: `wgsl/norm.wgsl`.

use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{NormOps, composed};
use crate::wgsl::{self, Shader};

fn shader(modulated: bool) -> Shader {
    Shader {
        name: "norm",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/norm.wgsl")),
        constants: vec![("MODULATED", modulated.to_string())],
    }
}

/// Both variants.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [false, true].into_iter().map(shader)
}

impl NormOps for CubeBackend {
    fn modulated_layer_norm(
        x: CubeTensor,
        scale: CubeTensor,
        shift: CubeTensor,
        eps: f32,
    ) -> CubeTensor {
        if !wgsl::takes([&x, &scale, &shift]) {
            return composed::modulated_layer_norm::<Self>(x, scale, shift, eps);
        }
        launch(true, [x, scale, shift], eps)
    }

    fn rms_norm(x: CubeTensor, weight: CubeTensor, eps: f32) -> CubeTensor {
        if !wgsl::takes([&x, &weight]) {
            return composed::rms_norm::<Self>(x, weight, eps);
        }
        // The binding needs a buffer, although this variant reads no shift.
        let shift = wgsl::nothing(&x);
        launch(false, [x, weight, shift], eps)
    }
}

fn launch(modulated: bool, inputs: [CubeTensor; 3], eps: f32) -> CubeTensor {
    let shape = inputs[0].meta.shape().clone();
    let rows = (shape[0] * shape[1]) as u32;
    let params = [rows, shape[2] as u32, shape[1] as u32, eps.to_bits()];
    let inputs = inputs.map(into_contiguous).to_vec();
    wgsl::launch(shader(modulated), inputs, shape, &params, rows)
}
