//! GELU in its tanh form by its definition, in f64.

/// `x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 x³)))` of every value, in the order of `x`.
pub fn gelu_tanh(x: &[f32]) -> Vec<f32> {
    let gelu = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        0.5 * x * (1.0 + inner.tanh())
    };
    x.iter().map(|&x| gelu(f64::from(x)) as f32).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn known_values() {
        // torch.nn.functional.gelu(x, approximate="tanh")
        let found = super::gelu_tanh(&[-1.0, 0.0, 1.0, 3.0]);
        let known = [-0.158_808, 0.0, 0.841_192, 2.996_363];
        for (found, known) in found.iter().zip(known) {
            assert!((found - known).abs() < 1e-6, "{found} is not {known}");
        }
    }
}
