//! GroupNorm by its definition.

/// Mean and variance (dividing by the count) of each of `groups` equal parts of `x`: `[groups]` pairs.
///
/// # Panics
/// When `groups` does not divide the length.
pub fn group_moments(x: &[f32], groups: usize) -> Vec<[f64; 2]> {
    assert!(x.len().is_multiple_of(groups));
    let len = x.len() / groups;
    let moments = x.chunks_exact(len).map(|x| {
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / len as f64;
        let squares = x.iter().map(|&x| (f64::from(x) - mean).powi(2));
        [mean, squares.sum::<f64>() / len as f64]
    });
    moments.collect()
}

/// One picture `x [channels, ..]` normalized in `groups`, times `weight [channels]` plus `bias [channels]`:
/// the shape of `x`. With `silu` then `x · sigmoid(x)`.
///
/// # Panics
/// When the channels or `groups` do not divide the length.
pub fn group_norm(
    x: &[f32],
    groups: usize,
    weight: &[f32],
    bias: &[f32],
    eps: f64,
    silu: bool,
) -> Vec<f32> {
    assert!(x.len().is_multiple_of(weight.len()));
    let (moments, pixels) = (group_moments(x, groups), x.len() / weight.len());
    let of = |(index, &x): (usize, &f32)| {
        let channel = index / pixels;
        let [mean, variance] = moments[channel * groups / weight.len()];
        let x = (f64::from(x) - mean) / (variance + eps).sqrt();
        let x = x * f64::from(weight[channel]) + f64::from(bias[channel]);
        (if silu { x / (1.0 + (-x).exp()) } else { x }) as f32
    };
    x.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_own_moments_and_a_channel_its_own_weight() {
        let x = [1.0, 3.0, 5.0, 5.0]; // two channels of two pixels
        assert_eq!(group_moments(&x, 2), [[2.0, 1.0], [5.0, 0.0]]);
        let found = group_norm(&x, 2, &[2.0, 7.0], &[0.5, -1.0], 0.0001, false);
        // 1 / sqrt(1.0001) is 0.99995.
        for (found, expected) in found.iter().zip([-1.4999, 2.4999, -1.0, -1.0]) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn silu_is_half_at_small_and_the_same_at_large_values() {
        let found = group_norm(&[-1.0, 1.0], 1, &[100.0], &[0.0], 0.0, true);
        assert!(found[0].abs() < 1e-30 && found[1] == 100.0, "{found:?}");
    }
}
