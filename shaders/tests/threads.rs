//! The same bytes for any number of CPU threads: a seed promises its image, whatever the machine.

mod common;

use burn::tensor::{DType, Device, Tensor, TensorData};
use common::Values;
use rayon::ThreadPoolBuilder;
use x2i_shaders::{
    Activation, Heads, InputBits, Qkv, attention, conv2d, gelu_tanh, group_moments,
    group_normalize, joint_attention, linear, linear_rounded, rms_norm,
};

/// One thread, an even split, and splits with a rest.
const THREADS: [usize; 4] = [1, 2, 3, 5];

/// A parallel sum may also depend on which thread takes which task: so every pool repeats.
const REPEATS: usize = 3;

fn tensor<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let count = shape.iter().product();
    let values = Values::new(count as u64).normals(count);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

#[track_caller]
fn check<const D: usize>(what: &str, compute: impl Fn() -> Tensor<D> + Send + Sync) {
    let bits = |threads: usize| -> Vec<u32> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        let found = pool.expect("a pool").install(|| compute().into_data());
        let found: Vec<f32> = found.try_to_vec().expect("f32 data");
        found.into_iter().map(f32::to_bits).collect()
    };
    let expected = bits(THREADS[0]);
    for threads in THREADS.into_iter().flat_map(|n| [n; REPEATS]) {
        let found = bits(threads);
        let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert_eq!(
            differ, 0,
            "{what}: values that differ with {threads} threads"
        );
    }
}

#[test]
fn group_norm_joins_its_parts_in_order() {
    let x = tensor([1, 8, 300, 301]); // many tasks a group
    check("moments", || group_moments(x.clone(), 2));
    let (weight, bias) = (tensor([8]), tensor([8]));
    check("group norm", || {
        let moments = group_moments(x.clone(), 2);
        let activation = Activation::Silu;
        group_normalize(
            x.clone(),
            moments,
            weight.clone(),
            bias.clone(),
            1e-6,
            activation,
        )
    });
}

#[test]
fn products_do_not_depend_on_threads() {
    let (weight, bias) = (tensor([520, 1100]), tensor([520]));
    for m in [1, 7, 300] {
        let x = tensor([m, 1100]);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let weight = weight.clone().cast(dtype);
            check(&format!("{m} rows, {dtype:?}"), || {
                linear(x.clone(), weight.clone(), Some(bias.clone()))
            });
        }
    }
}

#[test]
fn products_and_attention_in_bf16_do_not_depend_on_threads() {
    let weight = tensor([520, 1100]).cast(DType::BF16);
    for m in [9, 300, 1100] {
        let x = tensor([m, 1100]);
        check(&format!("{m} rows, rounded"), || {
            linear_rounded(x.clone(), weight.clone(), None, InputBits::AsWeights)
        });
    }
    let [tokens, width] = [300, 1024];
    let qkv = tensor([1, tokens, 3 * width]);
    let part = |index: usize| qkv.clone().narrow(2, index * width, width);
    let heads = |index: usize| Heads {
        x: part(index),
        weight: tensor([128]),
    };
    let tables = [tensor([tokens, 128]), tensor([tokens, 128])];
    check("joint attention, rounded", || {
        let qkv = Qkv {
            q: heads(0),
            k: heads(1),
            v: part(2),
        };
        joint_attention(qkv, None, tables.clone(), 1e-6, InputBits::AsWeights).to_f32()
    });
}

#[test]
fn convolutions_attention_and_norms_do_not_depend_on_threads() {
    let (x, weight, bias) = (
        tensor([1, 16, 130, 129]),
        tensor([24, 16, 3, 3]),
        tensor([24]),
    );
    check("conv2d", || conv2d(x.clone(), weight.clone(), bias.clone()));
    let q = tensor([1, 4, 700, 64]);
    check("attention", || {
        attention(q.clone(), q.clone(), q.clone(), None, 0.125)
    });
    let (rows, weight) = (tensor([1, 700, 256]), tensor([256]));
    check("rms norm", || rms_norm(rows.clone(), weight.clone(), 1e-6));
    check("gelu", || gelu_tanh(rows.clone()));
}
