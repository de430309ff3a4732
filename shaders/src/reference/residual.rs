//! The gated residual by its definition, in f64.

/// `x + gate · y` of `x`, `y` `[rows, width]` and `gate [width]`: `[rows, width]`.
pub fn gated_residual(x: &[f32], gate: &[f32], y: &[f32]) -> Vec<f32> {
    let gated = x.iter().zip(y).zip(gate.iter().cycle());
    gated
        .map(|((&x, &y), &gate)| (f64::from(x) + f64::from(gate) * f64::from(y)) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_values() {
        let found = super::gated_residual(&[1.0, 1.0], &[2.0, 0.0], &[3.0, 4.0]);
        assert_eq!(found, [7.0, 1.0]);
    }
}
