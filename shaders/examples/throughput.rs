//! Prints the kernels' throughput beside burn's own and the composed forms: `throughput [wgpu]
//! [matmul | attention]`.

use std::hint::black_box;
use std::time::Instant;

use burn::backend::ops::AttentionModuleOptions;
use burn::tensor::{
    Bytes, Device, DeviceKind, Distribution, FloatDType, Tensor, activation::softmax, module,
};
use x2i_shaders::{BlockQuantized, BlockType, attention, linear, qmatmul, takes_halves};

/// Runs of which the fastest counts.
const RUNS: usize = 7;

fn bench<const D: usize>(label: &str, flops: f64, mut run: impl FnMut() -> Tensor<D>) {
    let (mut wall, mut cpu) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..RUNS {
        let (start, cpu_start) = (Instant::now(), cpu_seconds());
        // A read is what waits for the device.
        black_box(run().sum().into_scalar::<f32>());
        wall = wall.min(start.elapsed().as_secs_f64());
        cpu = cpu.min(cpu_seconds() - cpu_start);
    }
    println!(
        "{label}: {:.2} ms, {:.2} CPU-ms, {:.1} GFLOP per CPU-s",
        wall * 1e3,
        cpu * 1e3,
        flops / cpu / 1e9
    );
}

/// What all threads of this process ran, where Linux tells it in nanoseconds; else 0.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
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
    let bytes = rows * cols / block_type.len() * block_type.bytes();
    // Every f16 among them is finite: the upper exponent bit is never set.
    let bytes = (0..bytes).map(|i| ((i * 7919) >> 3) as u8 & 0xbf).collect();
    let bytes = Bytes::from_bytes_vec(bytes);
    let weight = BlockQuantized::from_ggml(bytes, block_type, [rows, cols], device)
        .expect("the length fits the shape");
    let x = Tensor::<2>::random([m, cols], Distribution::Normal(0.0, 1.0), device);
    let flops = 2.0 * (m * rows * cols) as f64;
    let case = format!("matmul {m}x{cols}x{rows}");
    bench(&format!("{case}, ours on {block_type:?}"), flops, || {
        qmatmul(x.clone(), &weight, None)
    });
}

fn dense_case(device: &Device, m: usize, rows: usize, cols: usize) {
    let random = |shape| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), device);
    let (x, weight) = (random([m, cols]), random([rows, cols]));
    let flops = 2.0 * (m * rows * cols) as f64;
    let case = format!("matmul {m}x{cols}x{rows}");
    bench(&format!("{case}, ours on f32"), flops, || {
        linear(x.clone(), weight.clone(), None)
    });
    if takes_halves(device) {
        let halves = weight.clone().cast(FloatDType::F16);
        bench(&format!("{case}, ours on f16"), flops, || {
            linear(x.clone(), halves.clone(), None)
        });
    }
    bench(&format!("{case}, burn's own on f32"), flops, || {
        x.clone().matmul(weight.clone().transpose())
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    let device = match has("wgpu") {
        true => Device::wgpu(DeviceKind::DefaultDevice),
        false => Device::flex(),
    };
    // A software adapter is slow: a few heads, and the cases that its kernels are chosen for.
    let (heads, lengths, side) = match has("wgpu") {
        true => (4, [130, 512], 1024),
        false => (24, [512, 1280], 3072),
    };
    if !has("matmul") {
        for tokens in lengths {
            attention_case(&device, heads, tokens, 128);
        }
        if has("attention") {
            return;
        }
    }
    for m in [1, 16, 512] {
        dense_case(&device, m, side, side);
        for block_type in [
            BlockType::Q8_0,
            BlockType::Q4_0,
            BlockType::Q4K,
            BlockType::Q6K,
            BlockType::F8E4M3,
            BlockType::F8E5M2,
            BlockType::IQ4XS,
            BlockType::MXFP4,
        ] {
            qmatmul_case(&device, m, block_type, side, side);
        }
    }
}
