//! LayerNorm and RMSNorm by their definitions, in f64.

/// LayerNorm of `x [rows, width]`, then `· (1 + scale) + shift`, both `[width]`: `[rows, width]`.
pub fn modulated_layer_norm(x: &[f32], scale: &[f32], shift: &[f32], eps: f32) -> Vec<f32> {
    let mut out = vec![];
    for row in x.chunks_exact(scale.len()) {
        let mean = mean(row.iter().map(|&x| f64::from(x)));
        let variance = self::mean(row.iter().map(|&x| (f64::from(x) - mean).powi(2)));
        for ((&x, &scale), &shift) in row.iter().zip(scale).zip(shift) {
            let normed = (f64::from(x) - mean) / (variance + f64::from(eps)).sqrt();
            out.push((normed * (1.0 + f64::from(scale)) + f64::from(shift)) as f32);
        }
    }
    out
}

/// RMSNorm of `x [rows, width]` times `weight [width]`: `[rows, width]`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = vec![];
    for row in x.chunks_exact(weight.len()) {
        let square = mean(row.iter().map(|&x| f64::from(x).powi(2)));
        let root = (square + f64::from(eps)).sqrt();
        let weighted = row.iter().zip(weight);
        out.extend(weighted.map(|(&x, &weight)| (f64::from(x) / root * f64::from(weight)) as f32));
    }
    out
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(
            modulated_layer_norm(&[1.0, 3.0], &[0.0, 1.0], &[5.0, 0.0], 0.0),
            [4.0, 2.0]
        );
        assert_eq!(rms_norm(&[3.0, 3.0], &[1.0, -2.0], 0.0), [1.0, -2.0]);
    }
}
