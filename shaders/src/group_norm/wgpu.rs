//! GroupNorm on a wgpu device that compiles WGSL: `wgsl/group_moments.wgsl`, then
//! `wgsl/group_norm.wgsl`.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::Activation;
use crate::wgsl::{self, Shader};

/// Values of a part of a group: enough work for a workgroup, and enough workgroups for a GPU.
const PART: usize = 16 * 1024;

/// Invocations of a workgroup, a value each.
const THREADS: usize = 256;

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

/// Every variant that [`moments`] and [`normalize`] may launch.
pub(crate) fn shaders() -> impl Iterator<Item = Shader> {
    let norms = [Activation::None, Activation::Silu].map(norm_shader);
    [false, true].map(moments_shader).into_iter().chain(norms)
}

fn is_computable(tensors: &[&CubeTensor]) -> bool {
    let all_f32 = tensors.iter().all(|tensor| tensor.dtype == DType::F32);
    let len = tensors[0].meta.shape().num_elements();
    wgsl::runs(tensors[0]) && all_f32 && len > 0 && u32::try_from(len).is_ok()
}

pub(crate) fn moments(x: CubeTensor, groups: usize) -> CubeTensor {
    if !is_computable(&[&x]) {
        return super::composed_moments::<CubeBackend>(x, groups);
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

pub(crate) fn normalize(
    x: CubeTensor,
    moments: CubeTensor,
    weight: CubeTensor,
    bias: CubeTensor,
    eps: f32,
    activation: Activation,
) -> CubeTensor {
    if !is_computable(&[&x, &moments, &weight, &bias]) {
        return super::composed_normalize::<CubeBackend>(x, moments, weight, bias, eps, activation);
    }
    let (shape, groups) = (x.meta.shape().clone(), moments.meta.shape()[1]);
    let (len, channels, pixels) = (shape.num_elements(), shape[1], shape[2] * shape[3]);
    let [len32, channels32, pixels32, group] =
        [len, channels, pixels, channels / groups].map(|value| value as u32);
    let inputs = [x, moments, weight, bias].map(into_contiguous).to_vec();
    wgsl::launch(
        norm_shader(activation),
        inputs,
        shape,
        &[len32, channels32, pixels32, group, eps.to_bits()],
        len.div_ceil(THREADS) as u32,
    )
}
