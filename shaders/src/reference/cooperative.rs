//! Rows of f32 rounded to f16 with a power of two for each row.

use half::f16;

/// What `x [rows, cols]` becomes: each number rounded to 11 bits of its row's scale, which puts the row's largest
/// magnitude between 512 and 1024. Rows of finite numbers that are not all zeros.
pub fn halves(x: &[f32], cols: usize) -> Vec<f32> {
    x.chunks_exact(cols)
        .flat_map(|row| {
            let largest = row.iter().fold(0f64, |max, &x| max.max(f64::from(x).abs()));
            let scale = 2f64.powi(largest.log2().floor() as i32 - 9);
            row.iter()
                .map(move |&x| (f16::from_f64(f64::from(x) / scale).to_f64() * scale) as f32)
        })
        .collect()
}
