//! Rotary position embedding of neighbouring channels by its definition, in f64. The norm before it is in
//! `norm.rs`.

/// Rotates channels 2k and 2k + 1 of `x [.., tokens, head_dim]` by `cos`, `sin` `[tokens, head_dim]`: the
/// shape of `x`.
///
/// # Panics
/// When the length of `x` is odd, or `cos` is empty or longer than `sin`.
pub fn rotate_neighbours(x: &[f32], cos: &[f32], sin: &[f32]) -> Vec<f32> {
    let turned = |i: usize| {
        if i.is_multiple_of(2) {
            -x[i + 1]
        } else {
            x[i - 1]
        }
    };
    (0..x.len())
        .map(|i| {
            let angle = i % cos.len();
            let straight = f64::from(x[i]) * f64::from(cos[angle]);
            (straight + f64::from(turned(i)) * f64::from(sin[angle])) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_values() {
        let found = super::rotate_neighbours(&[1.0, 2.0], &[0.0, 0.0], &[1.0, 1.0]);
        assert_eq!(found, [-2.0, 1.0]);
    }
}
