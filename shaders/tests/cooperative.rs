//! The kernels for cooperative matrices against the naive oracles, on an adapter that has such matrices.

mod common;
#[path = "common/matrices.rs"]
mod matrices;

use burn::tensor::Bytes;
use common::{Values, assert_close, blocks, devices, tensor};
use matrices::device;
use x2i_shaders::reference::{self, AttentionShape};
use x2i_shaders::{BlockQuantized, BlockType, attention, kernels_agree, linear, qmatmul};

/// Both factors are rounded to 11 bits: 5e-4 of each product at most, less of a sum.
const TOLERANCE: f32 = 2e-3;

fn check_product(block_type: BlockType, m: usize, shape: [usize; 2], magnitude: f32) {
    let Some(device) = device() else { return };
    let [rows, cols] = shape;
    let x: Vec<f32> = Values::new(m as u64).normals(m * cols);
    let x: Vec<f32> = x.into_iter().map(|x| x * magnitude).collect();
    let bytes = blocks(block_type, shape);
    let expected = reference::qmatmul(&x, &bytes, block_type, cols);
    let largest = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
    let bytes = Bytes::from_bytes_vec(bytes);
    let weight = BlockQuantized::from_ggml(bytes, block_type, shape, device).expect("whole blocks");
    let case = format!("{block_type:?}, {m} rows of about {magnitude}, weight {shape:?}");
    let x = tensor(&x, [m, cols], device);
    assert_close(
        &case,
        qmatmul(x.clone(), &weight, None),
        &expected,
        TOLERANCE,
    );
    let bias: Vec<f32> = Values::new(7).normals(rows);
    let bias: Vec<f32> = bias.into_iter().map(|bias| bias * largest).collect();
    let with_bias = expected.iter().zip(bias.iter().cycle()).map(|(y, b)| y + b);
    let with_bias: Vec<f32> = with_bias.collect();
    let found = qmatmul(x, &weight, Some(tensor(&bias, [rows], device)));
    assert_close(&format!("{case}, bias"), found, &with_bias, TOLERANCE);
}

#[test]
fn products_of_every_type_match_the_reference() {
    for block_type in BlockType::ALL {
        for (m, shape) in [(9, [75, 256]), (33, [64, 512]), (70, [130, 768])] {
            check_product(block_type, m, shape, 1.0);
        }
    }
}

#[test]
fn products_of_any_size_match_the_reference() {
    for m in [9, 16, 17, 31, 64, 65, 129, 200] {
        check_product(BlockType::Q8_0, m, [75, 160], 1.0);
        check_product(BlockType::Q4_0, m, [1, 32], 1.0);
        check_product(BlockType::Q4_1, m, [257, 96], 1.0);
    }
}

#[test]
fn inputs_beyond_f16_lose_no_more_than_others() {
    for magnitude in [1e-20, 1e4, 6e4, 1e20] {
        check_product(BlockType::Q8_0, 40, [40, 128], magnitude);
    }
}

/// A dense weight of f32 whose rows are as far apart as f32 allows.
fn check_dense(m: usize, [rows, cols]: [usize; 2], magnitude: f32) {
    let Some(device) = device() else { return };
    let x: Vec<f32> = Values::new(m as u64).normals(m * cols);
    let weight: Vec<f32> = Values::new(cols as u64).normals(rows * cols);
    let weight: Vec<f32> = weight.into_iter().map(|w| w * magnitude).collect();
    let bias: Vec<f32> = Values::new(7).normals(rows);
    let bias: Vec<f32> = bias.into_iter().map(|bias| bias * magnitude).collect();
    let expected = reference::linear(&x, &weight, Some(&bias), cols);
    let found = linear(
        tensor(&x, [m, cols], device),
        tensor(&weight, [rows, cols], device),
        Some(tensor(&bias, [rows], device)),
    );
    let case = format!("{m} rows, dense weight [{rows}, {cols}] of about {magnitude}");
    assert_close(&case, found, &expected, TOLERANCE);
}

#[test]
fn dense_products_of_any_width_match_the_reference() {
    for m in [1, 8, 9, 40, 130] {
        for shape in [[75, 33], [1, 1], [64, 64], [130, 100], [9, 1100], [257, 6]] {
            check_dense(m, shape, 1.0);
        }
    }
}

#[test]
fn products_of_very_many_rows_match_the_reference() {
    // So many that they take tall workgroups, and not all of the last ones.
    check_dense(1030, [2040, 32], 1.0);
}

#[test]
fn dense_weights_beyond_f16_lose_no_more_than_others() {
    for magnitude in [1e-20, 1e5, 1e20] {
        check_dense(40, [40, 70], magnitude);
    }
}

#[test]
fn an_input_that_is_not_finite_is_not_lost() {
    let Some(device) = device() else { return };
    let bytes = Bytes::from_bytes_vec(blocks(BlockType::Q8_0, [16, 64]));
    let weight = BlockQuantized::from_ggml(bytes, BlockType::Q8_0, [16, 64], device);
    let weight = weight.expect("whole blocks");
    for poison in [f32::NAN, f32::INFINITY] {
        let mut x = Values::new(1).normals(20 * 64);
        x[5 * 64 + 3] = poison;
        let y = qmatmul(tensor(&x, [20, 64], device), &weight, None);
        let y: Vec<f32> = y.into_data().try_to_vec().expect("f32 data");
        let finite: Vec<bool> = y
            .chunks(16)
            .map(|row| row.iter().all(|y| y.is_finite()))
            .collect();
        let expected: Vec<bool> = (0..20).map(|row| row != 5).collect();
        assert_eq!(finite, expected);
    }
}

/// Attention with query heads in groups of `group`, and a causal mask where `masked`.
fn check_attention(head_dim: usize, [q_tokens, kv_tokens]: [usize; 2], masked: bool, size: f32) {
    let Some(device) = device() else { return };
    let (batch, kv_heads, group) = (2, 2, 2);
    let shape = AttentionShape {
        batch,
        heads: kv_heads * group,
        kv_heads,
        q_tokens,
        kv_tokens,
        head_dim,
    };
    let normals = |seed, tokens, heads, size: f32| -> Vec<f32> {
        let values = Values::new(seed).normals(batch * heads * tokens * head_dim);
        values.into_iter().map(|value| value * size).collect()
    };
    let q = normals(1, q_tokens, shape.heads, 1.0);
    let k = normals(2, kv_tokens, kv_heads, 1.0);
    let v = normals(3, kv_tokens, kv_heads, size);
    // The first queries see no key at all.
    let mask: Vec<f32> = (0..q_tokens * kv_tokens)
        .map(|i| match (i / kv_tokens, i % kv_tokens) {
            (query, key) if query < 3 || key > query + kv_tokens / 2 => f32::MIN,
            _ => 0.0,
        })
        .collect();
    let scale = (head_dim as f32).sqrt().recip();
    let heads = batch * shape.heads;
    let full: Vec<f32> = mask
        .iter()
        .copied()
        .cycle()
        .take(heads * mask.len())
        .collect();
    let expected =
        reference::attention(&q, &k, &v, masked.then_some(full.as_slice()), scale, shape);
    let keys = [batch, kv_heads, kv_tokens, head_dim];
    let found = attention(
        tensor(&q, [batch, shape.heads, q_tokens, head_dim], device),
        tensor(&k, keys, device),
        tensor(&v, keys, device),
        masked.then(|| tensor(&mask, [1, 1, q_tokens, kv_tokens], device)),
        scale,
    );
    let case = format!("head_dim {head_dim}, {q_tokens} x {kv_tokens}, masked {masked}, {size}");
    assert_close(&case, found, &expected, TOLERANCE);
}

#[test]
fn attention_matches_the_reference() {
    for head_dim in [16, 32, 64, 80, 128] {
        for tokens in [[37, 101], [64, 32], [130, 7]] {
            check_attention(head_dim, tokens, false, 1.0);
            check_attention(head_dim, tokens, true, 1.0);
        }
    }
}

#[test]
fn values_beyond_f16_do_not_overflow() {
    for size in [1e4, 6e4, 1e10] {
        check_attention(64, [40, 70], false, size);
    }
}

#[test]
fn rising_scores_are_rescaled() {
    let Some(device) = device() else { return };
    // Each later key scores higher, so that every tile raises the largest score of each row.
    let (tokens, head_dim) = (200, 32);
    let shape = AttentionShape {
        batch: 1,
        heads: 1,
        kv_heads: 1,
        q_tokens: tokens,
        kv_tokens: tokens,
        head_dim,
    };
    let q = vec![1.0; tokens * head_dim];
    let k: Vec<f32> = (0..tokens * head_dim)
        .map(|i| (i / head_dim) as f32 / 32.0)
        .collect();
    let v = Values::new(5).normals(tokens * head_dim);
    let expected = reference::attention(&q, &k, &v, None, 1.0, shape);
    let dims = [1, 1, tokens, head_dim];
    let [q, k, v] = [&q, &k, &v].map(|values| tensor(values, dims, device));
    // Scores up to 200 lose half a unit in the eleventh bit: the weights of neighbours are off by a tenth.
    assert_close("rising", attention(q, k, v, None, 1.0), &expected, 0.1);
}

#[test]
fn the_check_at_opening_passes() {
    for (name, device) in devices() {
        assert!(kernels_agree(device), "{name}");
    }
    if let Some(device) = device() {
        assert!(kernels_agree(device));
    }
}
