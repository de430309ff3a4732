//! `x Wᵀ + b` by its definition.

/// `x [m, cols]` times `weight [rows, cols]` transposed, plus `bias [rows]`: `[m, rows]`.
///
/// # Panics
/// When the lengths are not multiples of `cols`.
pub fn linear(x: &[f32], weight: &[f32], bias: Option<&[f32]>, cols: usize) -> Vec<f32> {
    assert!(x.len().is_multiple_of(cols) && weight.len().is_multiple_of(cols));
    let mut out = Vec::new();
    for x in x.chunks_exact(cols) {
        for (row, weight) in weight.chunks_exact(cols).enumerate() {
            let dot: f64 = (x.iter().zip(weight))
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum();
            out.push((dot + bias.map_or(0.0, |bias| f64::from(bias[row]))) as f32);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_input_row_meets_every_weight_row() {
        let (x, weight) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.5, 0.5, -1.0, 1.0]);
        assert_eq!(
            super::linear(&x, &weight, None, 2),
            [1.0, 1.5, 1.0, 3.0, 3.5, 1.0]
        );
        let bias = [10.0, 20.0, 30.0];
        assert_eq!(
            super::linear(&x, &weight, Some(&bias), 2),
            [11.0, 21.5, 31.0, 13.0, 23.5, 31.0]
        );
    }
}
