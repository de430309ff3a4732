//! Attention in bf16 against the naive twin on rounded inputs.

use burn::tensor::{DType, TensorData};
use burn_flex::FlexTensor;
use half::bf16;

use super::*;
use crate::reference::{self, AttentionShape};
use x2i_cpu::lanes::bfloat::Bfloat;

/// Weights of the softmax are rounded to 8 bits, of which a sum averages the errors.
const TOLERANCE: f32 = 4e-3;

fn values(count: usize, seed: usize, magnitude: f32) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 1999) as f32 / 999.5 - 1.0;
    (0..count).map(|i| value(i) * magnitude).collect()
}

/// A tensor `[batch, heads, tokens, head_dim]` in which the heads of a token lie side by side.
fn side_by_side(values: &[f32], [batch, heads, tokens, head_dim]: [usize; 4]) -> FlexTensor {
    let at = |b: usize, t: usize, h: usize| ((b * heads + h) * tokens + t) * head_dim;
    let mut out = Vec::with_capacity(values.len());
    for (b, t) in (0..batch * tokens).map(|i| (i / tokens, i % tokens)) {
        for h in 0..heads {
            out.extend_from_slice(&values[at(b, t, h)..][..head_dim]);
        }
    }
    tensor(out, [batch, tokens, heads, head_dim]).transpose(1, 2)
}

fn run(shape: AttentionShape, scale: f32, [q, k, v]: [&[f32]; 3]) -> Option<Vec<f32>> {
    let Some(unit) = Bfloat::here() else {
        println!("not run: this machine does not multiply bf16");
        return None;
    };
    let s = shape;
    let kv = [s.batch, s.kv_heads, s.kv_tokens, s.head_dim];
    let q = side_by_side(q, [s.batch, s.heads, s.q_tokens, s.head_dim]);
    let (k, v) = (side_by_side(k, kv), side_by_side(v, kv));
    let found = attention(unit, [&q, &k, &v], scale).to_contiguous();
    Some(found.storage::<f32>().to_vec())
}

#[track_caller]
fn check(shape: AttentionShape, magnitude: f32) {
    let s = shape;
    let kv = s.batch * s.kv_heads * s.kv_tokens * s.head_dim;
    let q = values(s.batch * s.heads * s.q_tokens * s.head_dim, 1, magnitude);
    let (k, v) = (values(kv, 2, 1.0), values(kv, 3, magnitude));
    let scale = (s.head_dim as f32).sqrt().recip();
    let Some(found) = run(shape, scale, [&q, &k, &v]) else {
        return;
    };
    let [q, k, v] = [q, k, v]
        .map(|x| -> Vec<f32> { x.into_iter().map(|x| bf16::from_f32(x).to_f32()).collect() });
    let expected = reference::attention(&q, &k, &v, None, scale, s);
    let largest = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let off = (found - expected).abs();
        assert!(
            off <= TOLERANCE * largest,
            "{s:?}: element {i} is {found}, the reference has {expected}"
        );
    }
}

fn shape(
    [batch, heads, kv_heads]: [usize; 3],
    tokens: [usize; 2],
    head_dim: usize,
) -> AttentionShape {
    AttentionShape {
        batch,
        heads,
        kv_heads,
        q_tokens: tokens[0],
        kv_tokens: tokens[1],
        head_dim,
    }
}

#[test]
fn it_matches_the_reference_on_odd_sizes() {
    for tokens in [[1, 1], [16, 12], [17, 13], [33, 40], [70, 2 * CHUNK + 75]] {
        for head_dim in [1, 5, 24, 64, 128] {
            check(shape([1, 2, 2], tokens, head_dim), 1.0);
        }
    }
    check(shape([2, 6, 3], [19, 27], 20), 1.0); // batches, and grouped queries
}

#[test]
fn large_scores_give_the_largest_key() {
    check(shape([1, 2, 1], [20, 37], 64), 1e4);
    check(shape([1, 2, 1], [20, 37], 64), 1e-20);
}

#[test]
fn what_is_not_finite_stays_in_its_query() {
    for bad in [f32::NAN, f32::INFINITY] {
        let shape = shape([1, 1, 1], [20, 20], 16);
        let mut q = values(20 * 16, 1, 1.0);
        q[3 * 16 + 2] = bad;
        let (k, v) = (values(20 * 16, 2, 1.0), values(20 * 16, 3, 1.0));
        let Some(found) = run(shape, 0.25, [&q, &k, &v]) else {
            return;
        };
        for (row, out) in found.chunks_exact(16).enumerate() {
            assert_eq!(
                out.iter().all(|x| x.is_finite()),
                row != 3,
                "{bad}, row {row}"
            );
        }
    }
}

#[test]
fn a_head_is_read_from_a_slice() {
    let data = TensorData::new(values(2 * 3 * 9 * 8, 1, 1.0), [2, 3, 9, 8]);
    let whole = FlexTensor::from_data(data);
    assert_eq!(whole.dtype(), DType::F32);
    let part = whole.narrow(1, 1, 2).narrow(2, 4, 5);
    let head = Head::new(&part, 3); // batch 1, head 1 of the part
    let expected = part.to_contiguous();
    let row = &expected.storage::<f32>()[(3 * 5 + 2) * 8..][..8];
    assert_eq!(head.row(2), row);
}
