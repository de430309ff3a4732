//! Products and attention by burn's kernels in f16, which CUDA runs in bf16, against the naive oracles: on a wgpu device
//! that is told to run them.

mod common;

use std::io::{Write, stderr};
use std::sync::OnceLock;

use burn::tensor::{Bytes, DType, Device, FloatDType, Tensor};
use common::{Values, assert_close, blocks, devices, tensor};
use x2i_shaders::reference::{self, AttentionShape};
use x2i_shaders::{
    BlockQuantized, BlockType, Half, Kernels, attention, choose_kernels, kernels_agree, linear,
    qmatmul,
};

/// Both factors are rounded to 11 bits: 5e-4 of each product at most, less of a sum.
const TOLERANCE: f32 = 2e-3;

/// A wgpu device with f16 that runs no shader of ours for products. A missing one is printed once.
fn device() -> Option<&'static Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let opened = DEVICE.get_or_init(|| {
        let gpus = devices().iter().filter(|(name, _)| *name == "wgpu");
        let mut gpus = gpus.filter(|(_, device)| device.supports_dtype(DType::F16));
        let Some((_, device)) = gpus.next() else {
            // Not a print macro: those the test runner captures.
            let _ = writeln!(stderr(), "SKIPPED: no wgpu adapter with f16");
            return None;
        };
        let kernels = Kernels {
            library: Some(Half::F16),
            ..Kernels::default()
        };
        choose_kernels(device, kernels);
        Some(device.clone())
    });
    opened.as_ref()
}

fn scaled(values: Vec<f32>, magnitude: f32) -> Vec<f32> {
    values.into_iter().map(|value| value * magnitude).collect()
}

/// A product with a weight in f32 and, where it fits, in f16.
fn check_product([m, rows, cols]: [usize; 3], of_inputs: f32, of_weights: f32) {
    let Some(device) = device() else { return };
    let x = scaled(Values::new(m as u64).normals(m * cols), of_inputs);
    let weight = scaled(Values::new(9).normals(rows * cols), of_weights);
    let bias = scaled(Values::new(7).normals(rows), of_inputs * of_weights);
    let expected = reference::linear(&x, &weight, Some(&bias), cols);
    let product = |weight: Tensor<2>| {
        let x = tensor(&x, [m, cols], device);
        linear(x, weight, Some(tensor(&bias, [rows], device)))
    };
    let case = format!("{m}x{cols}x{rows}, inputs of {of_inputs}, weights of {of_weights}");
    let weight = tensor(&weight, [rows, cols], device);
    assert_close(&case, product(weight.clone()), &expected, TOLERANCE);
    if of_weights == 1.0 {
        let halves = weight.cast(FloatDType::F16);
        assert_close(
            &format!("{case}, in f16"),
            product(halves),
            &expected,
            TOLERANCE,
        );
    }
}

#[test]
fn products_of_any_size_match_the_reference() {
    for m in [1, 2, 9, 40, 130] {
        for [rows, cols] in [[1, 32], [75, 160], [64, 256], [33, 7]] {
            check_product([m, rows, cols], 1.0, 1.0);
        }
    }
    check_product([300, 270, 288], 1.0, 1.0);
}

#[test]
fn numbers_beyond_f16_lose_no_more_than_others() {
    for magnitude in [1e-20, 1e4, 6e4, 1e18] {
        check_product([40, 40, 128], magnitude, 1.0);
        check_product([40, 40, 128], 1.0, magnitude);
    }
}

#[test]
fn weights_in_blocks_of_every_type_match_the_reference() {
    let Some(device) = device() else { return };
    for block_type in BlockType::ALL {
        for (m, shape) in [(1, [75, 256]), (33, [64, 512])] {
            let [rows, cols] = shape;
            let x = Values::new(m as u64).normals(m * cols);
            let bytes = blocks(block_type, shape);
            let expected = reference::qmatmul(&x, &bytes, block_type, cols);
            let bytes = Bytes::from_bytes_vec(bytes);
            let weight = BlockQuantized::from_ggml(bytes, block_type, shape, device);
            let weight = weight.expect("whole blocks");
            let found = qmatmul(tensor(&x, [m, cols], device), &weight, None);
            let case = format!("{block_type:?}, {m} rows, weight {rows}x{cols}");
            assert_close(&case, found, &expected, TOLERANCE);
        }
    }
}

#[test]
fn an_input_that_is_not_finite_is_not_lost() {
    let Some(device) = device() else { return };
    let weight = tensor(&Values::new(3).normals(16 * 64), [16, 64], device);
    for poison in [f32::NAN, f32::INFINITY] {
        let mut x = Values::new(1).normals(20 * 64);
        x[5 * 64 + 3] = poison;
        let y = linear(tensor(&x, [20, 64], device), weight.clone(), None);
        let y: Vec<f32> = y.into_data().try_to_vec().expect("f32 data");
        let finite: Vec<bool> = y
            .chunks(16)
            .map(|row| row.iter().all(|y| y.is_finite()))
            .collect();
        let expected: Vec<bool> = (0..20).map(|row| row != 5).collect();
        assert_eq!(finite, expected);
    }
}

/// Attention with query heads in groups of two, and a causal mask where `masked`. Queries and keys have scores of
/// their usual size, but one is `unlike` times larger and the other smaller; values are of `size`.
fn check_attention(
    [q_tokens, kv_tokens, head_dim]: [usize; 3],
    masked: bool,
    unlike: f32,
    size: f32,
) {
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
    let normals = |seed, tokens, heads, size: f32| {
        scaled(
            Values::new(seed).normals(batch * heads * tokens * head_dim),
            size,
        )
    };
    let q = normals(1, q_tokens, shape.heads, unlike);
    let k = normals(2, kv_tokens, kv_heads, unlike.recip());
    let v = normals(3, kv_tokens, kv_heads, size);
    // The first queries see no key at all.
    let mask: Vec<f32> = (0..q_tokens * kv_tokens)
        .map(|i| match (i / kv_tokens, i % kv_tokens) {
            (query, key) if query < 3 || key > query + kv_tokens / 2 => f32::MIN,
            _ => 0.0,
        })
        .collect();
    let scale = (head_dim as f32).sqrt().recip();
    let every_head = mask.iter().copied().cycle();
    let full: Vec<f32> = every_head.take(batch * shape.heads * mask.len()).collect();
    let oracle_mask = masked.then_some(full.as_slice());
    let expected = reference::attention(&q, &k, &v, oracle_mask, scale, shape);
    let keys = [batch, kv_heads, kv_tokens, head_dim];
    let found = attention(
        tensor(&q, [batch, shape.heads, q_tokens, head_dim], device),
        tensor(&k, keys, device),
        tensor(&v, keys, device),
        masked.then(|| tensor(&mask, [1, 1, q_tokens, kv_tokens], device)),
        scale,
    );
    let case =
        format!("head_dim {head_dim}, {q_tokens} x {kv_tokens}, masked {masked}, {unlike}, {size}");
    assert_close(&case, found, &expected, TOLERANCE);
}

#[test]
fn attention_matches_the_reference() {
    for head_dim in [20, 64, 128] {
        for [q_tokens, kv_tokens] in [[1, 9], [37, 101], [130, 7]] {
            for masked in [false, true] {
                check_attention([q_tokens, kv_tokens, head_dim], masked, 1.0, 1.0);
            }
        }
    }
}

#[test]
fn queries_keys_and_values_beyond_f16_do_not_overflow() {
    for unlike in [1e-10, 6e4, 1e10] {
        check_attention([40, 70, 64], false, unlike, 1.0);
    }
    for size in [1e-10, 1e4, 6e4, 1e10] {
        check_attention([40, 70, 64], true, 1.0, size);
    }
}

#[test]
fn the_check_at_opening_passes() {
    if let Some(device) = device() {
        assert!(kernels_agree(device));
    }
}
