//! GroupNorm on a wgpu device that compiles WGSL: `wgsl/group_moments.wgsl`, then
//! `wgsl/group_norm.wgsl`.

use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::GroupNormOps;
use super::composed::{self, Activation};
use crate::wgsl::{self, Shader, THREADS};

/// Values of a part of a group: enough work for a workgroup, and enough workgroups for a GPU.
const PART: usize = 16 * 1024;

fn moments_shader(join: bool) -> Shader {
    Shader {
        name: "group_moments",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/group_moments.wgsl")),
        constants: vec![("JOIN", join.to_string())],
    }
}

fn norm_shader(activation: Activation) -> Shader {
    Shader {
        name: "group_norm",
        text: include_str!(concat!(env!("OUT_DIR"), "/wgsl/group_norm.wgsl")),
        constants: vec![("SILU", (activation == Activation::Silu).to_string())],
    }
}

/// Every variant of both shaders.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    let norms = [Activation::None, Activation::Silu].map(norm_shader);
    [false, true].map(moments_shader).into_iter().chain(norms)
}

impl GroupNormOps for CubeBackend {
    fn group_moments(x: CubeTensor, groups: usize) -> CubeTensor {
        if !is_computable(&[&x]) {
            return composed::group_moments::<Self>(x, groups);
        }
        let batch = x.meta.shape()[0];
        let runs = batch * groups;
        let len = x.meta.shape().num_elements() / runs;
        let parts = len.div_ceil(PART);
        let params = |workgroups: usize| [len, PART, parts, workgroups].map(|value| value as u32);
        let joined = wgsl::launch(
            moments_shader(false),
            vec![into_contiguous(x)],
            Shape::new([runs, parts, 3]),
            &params(runs * parts),
            (runs * parts) as u32,
        );
        wgsl::launch(
            moments_shader(true),
            vec![joined],
            Shape::new([batch, groups, 2]),
            &params(runs),
            runs as u32,
        )
    }

    fn group_normalize(
        x: CubeTensor,
        moments: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        eps: f32,
        activation: Activation,
    ) -> CubeTensor {
        if !is_computable(&[&x, &moments, &weight, &bias]) {
            return composed::group_normalize::<Self>(x, moments, weight, bias, eps, activation);
        }
        let (shape, groups) = (x.meta.shape().clone(), moments.meta.shape()[1]);
        let (len, channels, pixels) = (shape.num_elements(), shape[1], shape[2] * shape[3]);
        let [len, channels, pixels, group] =
            [len, channels, pixels, channels / groups].map(|value| value as u32);
        let inputs = [x, moments, weight, bias].map(into_contiguous).to_vec();
        wgsl::launch(
            norm_shader(activation),
            inputs,
            shape,
            &[len, channels, pixels, group, eps.to_bits()],
            len.div_ceil(THREADS),
        )
    }
}

/// True when the shaders take the tensors; they count values in u32.
fn is_computable(tensors: &[&CubeTensor]) -> bool {
    let len = tensors[0].meta.shape().num_elements();
    wgsl::takes(tensors.iter().copied()) && u32::try_from(len).is_ok()
}
