//! The gated residual on a wgpu device that compiles WGSL: `wgsl/residual.wgsl`.

use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::{ResidualOps, composed};
use crate::wgsl::{self, Shader};

fn shader() -> Shader {
    Shader {
        name: "residual",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/residual.wgsl")),
        constants: vec![],
    }
}

/// The one variant.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    std::iter::once(shader())
}

impl ResidualOps for CubeBackend {
    fn gated_residual(x: CubeTensor, gate: CubeTensor, y: CubeTensor) -> CubeTensor {
        if !wgsl::takes([&x, &gate, &y]) {
            return composed::gated_residual::<Self>(x, gate, y);
        }
        let shape = x.meta.shape().clone();
        let count = shape.num_elements() as u32;
        let params = [count, shape[1] as u32, shape[2] as u32];
        let groups = count.div_ceil(wgsl::THREADS);
        let inputs = [x, gate, y].map(into_contiguous).to_vec();
        wgsl::launch(shader(), inputs, shape, &params, groups)
    }
}
