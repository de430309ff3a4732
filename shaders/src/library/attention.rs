//! Attention in the type of products.
//!
//! In a build for CUDA, attention without a mask is cubek's flash attention, whose tiles are f16 with sums in f32. With a
//! mask, which that does not take as numbers, and in other builds, it is two products with a softmax in f32 between
//! them.

use burn::backend::ops::{ActivationOps, FloatTensorOps};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::cast;
use burn_cubecl::tensor::CubeTensor;

use super::scaled::Power;
use super::{Library, converted, multiply};

/// As [`attention`](crate::attention()), of tensors of f32.
pub(crate) fn attention(
    [q, k, v]: [CubeTensor; 3],
    mask: Option<CubeTensor>,
    scale: f32,
    library: Library,
) -> CubeTensor {
    let (q_shape, kv_shape) = (q.meta.shape().clone(), k.meta.shape().clone());
    let (batch, heads, tokens, head_dim) = (q_shape[0], q_shape[1], q_shape[2], q_shape[3]);
    let kv_heads = kv_shape[1];
    // The query heads that share a key head become rows of one matrix: the keys are not expanded.
    let rows = heads / kv_heads * tokens;
    let q = CubeBackend::float_reshape(q, Shape::new([batch, kv_heads, rows, head_dim]));
    let inputs = [q, k, v];
    let flash = match (&mask, library.flash) {
        (None, true) => flash(&inputs, scale),
        _ => None,
    };
    let out = flash.unwrap_or_else(|| {
        let scores = Shape::new([batch, heads, tokens, kv_shape[2]]);
        let mask = mask.map(|mask| (mask, scores));
        products(
            Factors::of(inputs, scale, library.dtype()),
            mask,
            library.dtype(),
        )
    });
    CubeBackend::float_reshape(out, q_shape) // [batch, heads, tokens, head_dim]
}

/// Two products and a softmax; the mask comes with the shape of scores that it is added to.
fn products(factors: Factors, mask: Option<(CubeTensor, Shape)>, dtype: DType) -> CubeTensor {
    let Factors { q, k, v, power } = factors;
    let scores = multiply(q, CubeBackend::float_swap_dims(k, 2, 3));
    let scores = match mask {
        Some((mask, by_head)) => {
            let by_key_head = scores.meta.shape().clone();
            let scores = CubeBackend::float_reshape(scores, by_head);
            let scores = CubeBackend::float_add(scores, cast(mask, DType::F32));
            CubeBackend::float_reshape(scores, by_key_head)
        }
        None => scores,
    };
    let weights = CubeBackend::softmax(scores, 3);
    let out = multiply(converted(weights, dtype), v);
    match power {
        Some(power) => CubeBackend::float_mul(out, power),
        None => out,
    }
}

/// The factors of attention; queries have taken the scale.
struct Factors {
    q: CubeTensor,
    k: CubeTensor,
    v: CubeTensor,
    /// `[1, 1, 1, 1]`, by which the output is multiplied. `None` for one.
    power: Option<CubeTensor>,
}

/// The largest f16.
const F16_MOST: f32 = 65_504.0;

impl Factors {
    /// For f16, keys are divided by a power of two and queries multiplied by it, so that the largest numbers of both
    /// are alike: scores stay as they are, and f16 holds both up to products of 10^9, at which a softmax has one
    /// weight.
    fn of([q, k, v]: [CubeTensor; 3], scale: f32, dtype: DType) -> Self {
        let q = CubeBackend::float_mul_scalar(cast(q, DType::F32), scale.into());
        if dtype != DType::F16 {
            let [q, k, v] = [q, k, v].map(|tensor| converted(tensor, dtype));
            return Self {
                q,
                k,
                v,
                power: None,
            };
        }
        let [k, v] = [k, v].map(|tensor| cast(tensor, DType::F32));
        let [q_most, k_most, v_most] = [&q, &k, &v].map(|tensor| largest(tensor.clone()));
        let root = |most| {
            let most = CubeBackend::float_clamp_min(most, f32::MIN_POSITIVE.into());
            CubeBackend::float_sqrt(most)
        };
        let balance = Power::below(CubeBackend::float_div(root(k_most), root(q_most)));
        let values = Power::below(v_most);
        let within = |tensor, factor| {
            let tensor = CubeBackend::float_mul(tensor, factor);
            let tensor = CubeBackend::float_clamp(tensor, (-F16_MOST).into(), F16_MOST.into());
            converted(tensor, dtype)
        };
        Self {
            q: within(q, balance.power),
            k: within(k, balance.reciprocal),
            v: within(v, values.reciprocal),
            power: Some(values.power),
        }
    }
}

/// The largest magnitude of a tensor: `[1, 1, 1, 1]`.
fn largest(tensor: CubeTensor) -> CubeTensor {
    let largest = CubeBackend::float_max(CubeBackend::float_abs(tensor));
    CubeBackend::float_reshape(largest, Shape::new([1, 1, 1, 1]))
}

/// Warps of a block, and the queries that all of them take: cubek's kernel needs whole blocks.
#[cfg(feature = "cuda")]
const WARPS: u8 = 4;
#[cfg(feature = "cuda")]
const BLOCK: usize = 128;

/// cubek's flash attention, f32; `None` where it has none for these shapes.
#[cfg(feature = "cuda")]
fn flash(inputs: &[CubeTensor; 3], scale: f32) -> Option<CubeTensor> {
    use burn::tensor::Slice;
    use burn::tensor::ops::AttentionModuleOptions;
    use burn_cubecl::kernel::attention::flash_attention;
    use cubek::attention::forward::launch::{BlueprintStrategy, Strategy};
    use cubek::attention::forward::routines::blackbox_accelerated::BlackboxAcceleratedStrategy;

    let shape = inputs[0].meta.shape().clone();
    let (rows, head_dim) = (shape[2], shape[3]);
    // The kernel divides scores by the root of the head's width, which cancels.
    let scale = scale * (head_dim as f32).sqrt();
    let Factors { q, k, v, power } = Factors::of(inputs.clone(), scale, DType::F16);
    let missing = rows.next_multiple_of(BLOCK) - rows;
    let q = match missing {
        0 => q,
        _ => {
            let more = Shape::new([shape[0], shape[1], missing, head_dim]);
            let more =
                CubeBackend::float_zeros(more, &q.device.clone(), burn::tensor::FloatDType::F16);
            CubeBackend::float_cat(vec![q, more], 2)
        }
    };
    let strategy =
        Strategy::BlackboxAccelerated(BlueprintStrategy::Inferred(BlackboxAcceleratedStrategy {
            num_planes: WARPS,
            seq_q: 1,
            seq_kv: 1,
        }));
    let options = AttentionModuleOptions::default();
    let out = flash_attention(q, k, v, None, None, options, strategy).ok()?;
    let parts = [shape[0], shape[1], rows, head_dim].map(|size| Slice::from(0..size));
    let out = cast(CubeBackend::float_slice(out, &parts), DType::F32);
    Some(match power {
        Some(power) => CubeBackend::float_mul(out, power),
        None => out,
    })
}

/// Without the feature `cuda` no device has cubek's flash attention.
#[cfg(not(feature = "cuda"))]
fn flash(_: &[CubeTensor; 3], _: f32) -> Option<CubeTensor> {
    None
}
