//! The attention of FLUX's blocks: queries and keys of one stream or two are normed and rotated, the streams joined,
//! and the heads of the output put side by side.
//!
//! Where the device multiplies in f16, all that lies between the projections takes 16 bits. Elsewhere this is
//! [`norm_rope`] and [`crate::attention`].

use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::activations::Activations;
use crate::attention::attention_rounded;
use crate::attention::cooperative::Variant;
use crate::cooperative::Matrices;
use crate::norm_rope::wgpu::{halves, plain_halves};
use crate::{Heads, InputBits, norm_rope, wgsl};

/// Up to this many rows of queries the matrices would be half empty.
const FEW_ROWS: usize = 16;

/// Queries, keys and values of one stream.
#[derive(Debug, Clone)]
pub struct Qkv {
    /// Queries before their norm.
    pub q: Heads,
    /// Keys before their norm.
    pub k: Heads,
    /// Values, `[batch, tokens, heads * head_dim]`, f32; perhaps a slice.
    pub v: Tensor<3>,
}

/// Attention over the tokens of `first`, then those of `more`, scaled by the root of `head_dim`:
/// `[batch, tokens, heads * head_dim]`.
///
/// `cos` and `sin` are `[tokens, head_dim]`; `eps` is added to the mean squares of queries and keys. As `input_bits`
/// say, the CPU multiplies in bf16 where the heads together are 1024 wide.
///
/// # Panics
/// When the shapes do not agree, see [`norm_rope`].
pub fn joint_attention(
    first: Qkv,
    more: Option<Qkv>,
    [cos, sin]: [Tensor<2>; 2],
    eps: f32,
    input_bits: InputBits,
) -> Activations<3> {
    let [tokens, head_dim] = cos.dims();
    let matrices = Matrices::on(&cos.device()).filter(|_| tokens > FEW_ROWS);
    let variant = matrices.and_then(|matrices| Variant::of(matrices, head_dim));
    match variant {
        Some(variant) => in_halves(variant, first, more, [cos, sin], eps),
        None => Activations::new(in_floats(first, more, [cos, sin], eps, input_bits)),
    }
}

fn scale(head_dim: usize) -> f32 {
    (head_dim as f32).sqrt().recip()
}

fn in_floats(
    first: Qkv,
    more: Option<Qkv>,
    [cos, sin]: [Tensor<2>; 2],
    eps: f32,
    input_bits: InputBits,
) -> Tensor<3> {
    let (more_q, more_k, v) = match more {
        Some(more) => {
            let v = Tensor::cat(vec![first.v, more.v], 1);
            (Some(more.q), Some(more.k), v)
        }
        None => (None, None, first.v),
    };
    let q = norm_rope(first.q, more_q, cos.clone(), sin.clone(), eps);
    let k = norm_rope(first.k, more_k, cos, sin, eps);
    let [batch, heads, tokens, head_dim] = q.dims();
    let v = v.reshape([batch, tokens, heads, head_dim]).swap_dims(1, 2); // [batch, heads, tokens, head_dim]
    attention_rounded([q, k, v], scale(head_dim), input_bits)
        .swap_dims(1, 2)
        .reshape([batch, tokens, heads * head_dim])
}

fn in_halves(
    variant: Variant,
    first: Qkv,
    more: Option<Qkv>,
    [cos, sin]: [Tensor<2>; 2],
    eps: f32,
) -> Activations<3> {
    let [tokens, head_dim] = cos.dims();
    let [batch, _, width] = first.v.dims();
    let heads = width / head_dim;
    let [cos, sin] = [cos, sin].map(wgsl::cube);
    let normed = |first: Heads, more: Option<Heads>, rows: usize| {
        let parts = [first].into_iter().chain(more);
        let parts = parts.map(|part| (wgsl::cube(part.x), wgsl::cube(part.weight)));
        halves(parts.collect(), cos.clone(), sin.clone(), eps, rows)
    };
    let (more_q, more_k, more_v) = match more {
        Some(more) => (Some(more.q), Some(more.k), Some(more.v)),
        None => (None, None, None),
    };
    let q = normed(first.q, more_q, variant.rows()); // the last tile reads that far
    let k = normed(first.k, more_k, 0);
    let v: Vec<CubeTensor> = [first.v]
        .into_iter()
        .chain(more_v)
        .map(wgsl::cube)
        .collect();
    let qkv = [q, k, plain_halves(v, head_dim)];
    let out = variant.launch_halves(qkv, [batch, heads, tokens], scale(head_dim));
    Activations::sixteenths(Tensor::from_primitive::<CubeBackend>(out))
}
