//! Sinusoidal embeddings of a noise level or a guidance.

use burn::tensor::{Device, Tensor, TensorData};

/// Sigma and guidance are scaled by this before their sines.
const FACTOR: f32 = 1000.0;
/// The longest period, as a multiple of the shortest.
const LONGEST: f64 = 10_000.0;

/// Cosines, then sines, of `1000 * value` at `channels / 2` frequencies: `[batch, channels]`.
///
/// On the host: a GPU's sine of an argument of 1000 is not good enough.
pub fn sinusoid(values: &[f32], channels: usize, device: &Device) -> Tensor<2> {
    let half = channels / 2;
    let mut out = Vec::with_capacity(values.len() * channels);
    for &value in values {
        let angle = |k: usize| {
            let frequency = (-LONGEST.ln() as f32 * k as f32 / half as f32).exp();
            f64::from(value * FACTOR * frequency)
        };
        out.extend((0..half).map(|k| angle(k).cos() as f32));
        out.extend((0..half).map(|k| angle(k).sin() as f32));
    }
    Tensor::from_data(TensorData::new(out, [values.len(), channels]), device)
}
