//! scratch
use burn::tensor::{Device, Distribution, Tensor};
use std::time::Instant;
fn cpu() -> f64 {
    let t = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let _ = t;
    let mut sum = 0.0;
    for e in std::fs::read_dir("/proc/self/task").unwrap() {
        let p = e.unwrap().path().join("schedstat");
        if let Ok(t) = std::fs::read_to_string(p) {
            sum += t.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9;
        }
    }
    sum
}
fn main() {
    let device = Device::flex();
    for (i, o, s, up) in [
        (512usize, 512usize, 64usize, false),
        (512, 512, 128, false),
        (512, 512, 128, true),
        (256, 256, 256, false),
        (256, 256, 256, true),
        (128, 128, 512, false),
        (128, 3, 512, false),
    ] {
        let x = Tensor::<4>::random([1, i, s, s], Distribution::Default, &device);
        let w = Tensor::<4>::random([o, i, 3, 3], Distribution::Default, &device);
        let b = Tensor::<1>::random([o], Distribution::Default, &device);
        let mut best = f64::MAX;
        for _ in 0..3 {
            let (t, c) = (Instant::now(), cpu());
            let y = if up {
                x2i_shaders::upsample_conv2d(x.clone(), w.clone(), b.clone())
            } else {
                x2i_shaders::conv2d(x.clone(), w.clone(), b.clone())
            };
            std::hint::black_box(y);
            let _ = t;
            best = best.min(cpu() - c);
        }
        let f = 2.0 * (i * o * 9 * s * s) as f64 * if up { 4.0 } else { 1.0 };
        println!(
            "{i}->{o} at {s} {up}: {:.1} CPU-ms, {:.0} GFLOP/CPU-s direct",
            best * 1e3,
            f / best / 1e9
        );
    }
}
