//! Attention in 16 bits.
//!
//! In a build for CUDA, attention without a mask is cubek's flash attention. With a mask, which that does not take as
//! numbers, and in other builds, it is two products with a softmax in f32 between them.

use burn::backend::ops::{ActivationOps, FloatTensorOps};
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::scaled::Power;
use super::{multiply, narrowed, widened};
use crate::kernels::Half;

/// As [`attention`](crate::attention()), of tensors of f32.
pub(crate) fn attention(
    [q, k, v]: [CubeTensor; 3],
    mask: Option<CubeTensor>,
    scale: f32,
    half: Half,
) -> CubeTensor {
    let (q_shape, kv_shape) = (q.meta.shape().clone(), k.meta.shape().clone());
    let (batch, heads, tokens, head_dim) = (q_shape[0], q_shape[1], q_shape[2], q_shape[3]);
    let (kv_heads, kv_tokens) = (kv_shape[1], kv_shape[2]);
    // The query heads that share a key head become rows of one matrix: the keys are not expanded.
    let rows = heads / kv_heads * tokens;
    let q = CubeBackend::float_reshape(q, Shape::new([batch, kv_heads, rows, head_dim]));
    let Factors { q, k, v, power } = Factors::of([q, k, v], scale, half);
    let flash = match mask {
        None => flash([&q, &k, &v]),
        Some(_) => None,
    };
    let out = flash.unwrap_or_else(|| {
        let scores = multiply(q, CubeBackend::float_swap_dims(k, 2, 3));
        let scores =
            CubeBackend::float_reshape(scores, Shape::new([batch, heads, tokens, kv_tokens]));
        let scores = match mask {
            Some(mask) => CubeBackend::float_add(scores, widened(mask)),
            None => scores,
        };
        let weights = CubeBackend::softmax(scores, 3);
        let weights =
            CubeBackend::float_reshape(weights, Shape::new([batch, kv_heads, rows, kv_tokens]));
        multiply(narrowed(weights, half), v)
    });
    let out = match power {
        Some(power) => CubeBackend::float_mul(out, power),
        None => out,
    };
    CubeBackend::float_reshape(out, q_shape) // [batch, heads, tokens, head_dim]
}

/// The factors of attention in 16 bits; queries have taken the scale.
struct Factors {
    q: CubeTensor,
    k: CubeTensor,
    v: CubeTensor,
    /// `[1, 1, 1, 1]`, by which the output is multiplied.
    power: Option<CubeTensor>,
}

impl Factors {
    /// For f16, keys are divided by a power of two, and queries multiplied by it, so that both have their largest
    /// numbers between 1 and 4 times the root of the largest product of both: scores stay as they are, and f16 holds
    /// both up to products of 10^9, at which a softmax has one weight.
    fn of([q, k, v]: [CubeTensor; 3], scale: f32, half: Half) -> Self {
        let q = CubeBackend::float_mul_scalar(q, scale.into());
        if half == Half::Bf16 {
            let [q, k, v] = [q, k, v].map(|tensor| narrowed(tensor, half));
            return Self {
                q,
                k,
                v,
                power: None,
            };
        }
        let [q_most, k_most, v_most] = [&q, &k, &v].map(|tensor| largest(tensor.clone()));
        let ratio = CubeBackend::float_div(
            CubeBackend::float_clamp_min(k_most, f32::MIN_POSITIVE.into()),
            CubeBackend::float_clamp_min(q_most, f32::MIN_POSITIVE.into()),
        );
        let balance = Power::below(CubeBackend::float_sqrt(ratio));
        let values = Power::below(v_most);
        let within = |tensor, factor| {
            let tensor = CubeBackend::float_mul(tensor, factor);
            let tensor = CubeBackend::float_clamp(tensor, (-F16_MOST).into(), F16_MOST.into());
            narrowed(tensor, half)
        };
        Self {
            q: within(q, balance.power),
            k: within(k, balance.reciprocal),
            v: within(v, values.reciprocal),
            power: Some(values.power),
        }
    }
}

/// The largest f16.
const F16_MOST: f32 = 65_504.0;

/// The largest magnitude of a tensor: `[1, 1, 1, 1]`.
fn largest(tensor: CubeTensor) -> CubeTensor {
    let largest = CubeBackend::float_max(CubeBackend::float_abs(tensor));
    CubeBackend::float_reshape(largest, Shape::new([1, 1, 1, 1]))
}

/// cubek's flash attention of factors of 16 bits, f32; `None` where it has none for these shapes.
#[cfg(feature = "cuda")]
fn flash([q, k, v]: [&CubeTensor; 3]) -> Option<CubeTensor> {
    use burn::tensor::ops::AttentionModuleOptions;
    use burn_cubecl::kernel::attention::flash_attention;
    use cubek::attention::forward::launch::{BlueprintStrategy, Strategy};
    use cubek::attention::forward::routines::blackbox_accelerated::BlackboxAcceleratedStrategy;

    // It divides scores by the root of the head's width, which cancels.
    let root = (q.meta.shape()[3] as f32).sqrt();
    let q = CubeBackend::float_mul_scalar(q.clone(), root.into());
    let strategy = BlackboxAcceleratedStrategy {
        num_planes: 4,
        seq_q: 1,
        seq_kv: 1,
    };
    let strategy = Strategy::BlackboxAccelerated(BlueprintStrategy::Inferred(strategy));
    let options = AttentionModuleOptions::default();
    let out = flash_attention(q, k.clone(), v.clone(), None, None, options, strategy);
    out.ok().map(widened)
}

/// Without the feature `cuda` no device has cubek's flash attention.
#[cfg(not(feature = "cuda"))]
fn flash(_: [&CubeTensor; 3]) -> Option<CubeTensor> {
    None
}
