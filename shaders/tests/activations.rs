//! The memory that a block's activations take, by the device's own account. In a file of its own, because tests beside
//! it would take memory too.

mod common;
#[path = "common/matrices.rs"]
mod matrices;

use burn::backend::DispatchDevice;
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use burn_cubecl::cubecl::MemoryScope;
use common::{Values, devices};
use x2i_shaders::{
    BlockQuantized, BlockType, Gated, Heads, InputBits, Qkv, Weight, joint_attention,
    modulated_activations, product, product_gated, product_gelu_after,
};

const TOKENS: usize = 512;
const HIDDEN: usize = 128;
const HEAD_DIM: usize = 64;
const MLP: usize = 4 * HIDDEN;

fn normals<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = Values::new(seed).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn weight(seed: u64, [rows, cols]: [usize; 2], device: &Device) -> BlockQuantized {
    let upper = |x: f32| (x.to_bits() >> 16) as u16;
    let values = Values::new(seed)
        .normals(rows * cols)
        .into_iter()
        .map(upper);
    let bytes = Bytes::from_elems(values.collect::<Vec<u16>>());
    BlockQuantized::from_ggml(bytes, BlockType::BF16, [rows, cols], device).expect("whole blocks")
}

/// Bytes that a device has reserved.
fn reserved(device: &Device) -> u64 {
    let DispatchDevice::Cube(device) = device.as_dispatch() else {
        panic!("a GPU")
    };
    let report = device.client().memory_report(MemoryScope::Device);
    report.usage().bytes_reserved
}

/// What a single block makes a device reserve, besides its weights.
fn block(device: &Device) -> u64 {
    let qkv = weight(1, [3 * HIDDEN, HIDDEN], device);
    let up = weight(2, [MLP, HIDDEN], device);
    let down = weight(3, [HIDDEN, HIDDEN + MLP], device);
    let bias = |width: usize| normals(4, [width], device);
    let [scale, shift, gate] = [5, 6, 7].map(|seed| normals(seed, [1, 1, HIDDEN], device));
    let [cos, sin] = [8, 9].map(|seed| normals(seed, [TOKENS, HEAD_DIM], device));
    let [qkv_bias, up_bias, down_bias] = [3 * HIDDEN, MLP, HIDDEN].map(bias);
    let norm = normals(10, [HEAD_DIM], device);
    let before = reserved(device);

    let x = normals(11, [1, TOKENS, HIDDEN], device);
    let modulated = modulated_activations(x.clone(), scale, shift, 1e-6);
    let all = product(modulated.clone(), Weight::Blocks(&qkv), Some(qkv_bias));
    let part = |index: usize| all.clone().narrow(2, index * HIDDEN, HIDDEN);
    let heads = |index: usize| Heads {
        x: part(index),
        weight: norm.clone(),
    };
    let streams = Qkv {
        q: heads(0),
        k: heads(1),
        v: part(2),
    };
    let attn = joint_attention(streams, None, [cos, sin], 1e-6, InputBits::Sixteen);
    drop(all);
    let joined = product_gelu_after(attn, modulated, Weight::Blocks(&up), up_bias);
    let to = Gated { residual: x, gate };
    let out = product_gated(joined, Weight::Blocks(&down), down_bias, to);
    drop(out);
    reserved(device) - before
}

#[test]
fn a_block_in_f16_takes_half_of_the_memory() {
    let (Some(halves), Some((_, floats))) = (matrices::device(), devices().get(1)) else {
        return;
    };
    let [floats, halves] = [floats, halves].map(block);
    assert!(10 * halves <= 6 * floats, "{halves} bytes, {floats} in f32");
}
