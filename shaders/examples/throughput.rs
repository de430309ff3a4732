//! Prints the kernels' throughput beside burn's own and the composed forms: `throughput [wgpu]`.

use std::hint::black_box;
use std::time::Instant;

use burn::backend::ops::AttentionModuleOptions;
use burn::tensor::{Device, DeviceKind, Distribution, Tensor, activation::softmax, module};
use x2i_shaders::{BlockQuantized, BlockType, attention, qmatmul};

/// Runs of which the fastest counts.
const RUNS: usize = 7;

fn bench<const D: usize>(label: &str, flops: f64, mut run: impl FnMut() -> Tensor<D>) {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        // A read is what waits for the device.
        black_box(run().sum().into_scalar::<f32>());
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!(
        "{label}: {:.2} ms, {:.1} GFLOP/s",
        best * 1e3,
        flops / best / 1e9
    );
}

fn attention_case(device: &Device, heads: usize, tokens: usize, head_dim: usize) {
    let random = || {
        Tensor::<4>::random(
            [1, heads, tokens, head_dim],
            Distribution::Normal(0.0, 1.0),
            device,
        )
    };
    let (q, k, v) = (random(), random(), random());
    let scale = (head_dim as f32).powf(-0.5);
    let flops = 4.0 * (heads * tokens * tokens * head_dim) as f64;
    let case = format!("attention [1, {heads}, {tokens}, {head_dim}]");
    bench(&format!("{case}, ours"), flops, || {
        attention(q.clone(), k.clone(), v.clone(), None, scale)
    });
    bench(&format!("{case}, burn's own"), flops, || {
        let options = AttentionModuleOptions::default();
        module::attention(q.clone(), k.clone(), v.clone(), None, None, options)
    });
    bench(&format!("{case}, composed"), flops, || {
        let scores = q.clone().matmul(k.clone().transpose()) * scale;
        softmax(scores, 3).matmul(v.clone())
    });
}

fn qmatmul_case(device: &Device, m: usize, block_type: BlockType, rows: usize, cols: usize) {
    let block = match block_type {
        BlockType::Q8_0 => 34,
        BlockType::Q4_0 => 18,
    };
    let mut bytes: Vec<u8> = (0..rows * cols / 32 * block)
        .map(|i| ((i * 7919) >> 3) as u8)
        .collect();
    for block in bytes.chunks_exact_mut(block) {
        block[..2].copy_from_slice(&[0x66, 0x2e]); // 0.1
    }
    let weight = BlockQuantized::from_ggml(&bytes, block_type, [rows, cols], device)
        .expect("the length fits the shape");
    let x = Tensor::<2>::random([m, cols], Distribution::Normal(0.0, 1.0), device);
    let flops = 2.0 * (m * rows * cols) as f64;
    let case = format!("matmul {m}x{cols}x{rows}");
    bench(&format!("{case}, ours on {block_type:?}"), flops, || {
        qmatmul(x.clone(), &weight)
    });
    let dense = weight.dequantize();
    bench(&format!("{case}, dense f32"), flops, || {
        x.clone().matmul(dense.clone().transpose())
    });
}

fn main() {
    let device = match std::env::args().nth(1).as_deref() {
        Some("wgpu") => Device::wgpu(DeviceKind::DefaultDevice),
        _ => Device::flex(),
    };
    for tokens in [512, 1280] {
        attention_case(&device, 24, tokens, 128);
    }
    for m in [1, 8, 32, 512] {
        for block_type in [BlockType::Q8_0, BlockType::Q4_0] {
            qmatmul_case(&device, m, block_type, 3072, 3072);
        }
    }
}
