//! Norms on a wgpu device that compiles WGSL: `wgsl/norm.wgsl`.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{NormOps, composed};
use crate::wgsl::{self, Shader};

/// What the shader makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Modulated,
    /// The same as activations of 16 bits.
    ModulatedHalf,
    RootMeanSquare,
}

fn shader(form: Form) -> Shader {
    let half = form == Form::ModulatedHalf;
    Shader {
        name: "norm",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/norm.wgsl")),
        constants: vec![
            ("MODULATED", (form != Form::RootMeanSquare).to_string()),
            ("HALF", half.to_string()),
            ("Element", if half { "f16" } else { "f32" }.to_owned()),
        ],
    }
}

/// Every variant.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    [Form::Modulated, Form::ModulatedHalf, Form::RootMeanSquare]
        .into_iter()
        .filter(|&form| form != Form::ModulatedHalf || !cfg!(target_family = "wasm"))
        .map(shader)
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
        launch(Form::Modulated, [x, scale, shift], eps)
    }

    fn rms_norm(x: CubeTensor, weight: CubeTensor, eps: f32) -> CubeTensor {
        if !wgsl::takes([&x, &weight]) {
            return composed::rms_norm::<Self>(x, weight, eps);
        }
        // The binding needs a buffer, although this variant reads no shift.
        let shift = wgsl::nothing(&x);
        launch(Form::RootMeanSquare, [x, weight, shift], eps)
    }
}

/// The modulated norm of tensors of f32 that are not empty, as activations of 16 bits.
pub(crate) fn modulated_halves(
    x: CubeTensor,
    scale: CubeTensor,
    shift: CubeTensor,
    eps: f32,
) -> CubeTensor {
    launch(Form::ModulatedHalf, [x, scale, shift], eps)
}

fn launch(form: Form, inputs: [CubeTensor; 3], eps: f32) -> CubeTensor {
    let shape: Shape = inputs[0].meta.shape().clone();
    let rows = (shape[0] * shape[1]) as u32;
    let params = [rows, shape[2] as u32, shape[1] as u32, eps.to_bits()];
    let dtype = match form {
        Form::ModulatedHalf => DType::F16,
        Form::Modulated | Form::RootMeanSquare => DType::F32,
    };
    let out = wgsl::empty(&inputs[0], shape, dtype);
    let mut buffers = inputs.map(into_contiguous).to_vec();
    buffers.push(out.clone());
    wgsl::run(shader(form), buffers, &params, rows, wgsl::THREADS);
    out
}
