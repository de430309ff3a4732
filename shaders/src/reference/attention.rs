//! Attention by its definition, one query row after the other.

/// The sizes of one attention problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Number of independent problems.
    pub batch: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; it divides `heads`.
    pub kv_heads: usize,
    /// Number of queries of a head.
    pub q_tokens: usize,
    /// Number of keys of a head.
    pub kv_tokens: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

/// `softmax(q kᵀ · scale + mask) v`: `[batch, heads, q_tokens, head_dim]`, row-major like all slices.
///
/// - `q`: `[batch, heads, q_tokens, head_dim]`
/// - `k`, `v`: `[batch, kv_heads, kv_tokens, head_dim]`
/// - `mask`: `[batch, heads, q_tokens, kv_tokens]`, without broadcast axes
///
/// # Panics
/// When a slice is shorter than `shape` needs.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    mask: Option<&[f32]>,
    scale: f32,
    shape: AttentionShape,
) -> Vec<f32> {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        q_tokens,
        kv_tokens,
        head_dim,
    } = shape;
    let mut out = vec![0.0; batch * heads * q_tokens * head_dim];
    for row in 0..batch * heads * q_tokens {
        let head = row / q_tokens; // counted over all batches
        let kv_head = head / heads * kv_heads + head % heads / (heads / kv_heads);
        let query = &q[row * head_dim..][..head_dim];
        let key = |token: usize| &k[(kv_head * kv_tokens + token) * head_dim..][..head_dim];
        let value = |token: usize| &v[(kv_head * kv_tokens + token) * head_dim..][..head_dim];

        let scores: Vec<f64> = (0..kv_tokens)
            .map(|token| {
                let dot: f64 = (query.iter().zip(key(token)))
                    .map(|(&a, &b)| f64::from(a) * f64::from(b))
                    .sum();
                // The mask is added in f32, in which `f32::MIN` plus a score is `f32::MIN`.
                let score = (dot * f64::from(scale)) as f32;
                f64::from(mask.map_or(score, |mask| score + mask[row * kv_tokens + token]))
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (column, out) in out[row * head_dim..][..head_dim].iter_mut().enumerate() {
            let sum: f64 = (weights.iter().enumerate())
                .map(|(token, weight)| weight * f64::from(value(token)[column]))
                .sum();
            *out = (sum / total) as f32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_HEAD: AttentionShape = AttentionShape {
        batch: 1,
        heads: 1,
        kv_heads: 1,
        q_tokens: 1,
        kv_tokens: 2,
        head_dim: 1,
    };

    #[test]
    fn weights_are_the_softmax_of_the_scaled_scores() {
        // scores 2 ln 3 / 2 = ln 3 and 0, so the weights are 3/4 and 1/4
        let q = [2.0 * 3f32.ln()];
        let out = attention(&q, &[1.0, 0.0], &[8.0, 4.0], None, 0.5, ONE_HEAD);
        assert!((out[0] - 7.0).abs() < 1e-6, "{out:?}");
    }

    #[test]
    fn a_masked_key_has_no_weight_and_a_fully_masked_row_is_the_average() {
        let (q, k, v) = ([1.0], [5.0, 1.0], [8.0, 4.0]);
        let one = attention(&q, &k, &v, Some(&[f32::MIN, 0.0]), 1.0, ONE_HEAD);
        assert_eq!(one, [4.0]);
        let all = attention(&q, &k, &v, Some(&[f32::MIN; 2]), 1.0, ONE_HEAD);
        assert_eq!(all, [6.0]);
    }

    #[test]
    fn query_heads_share_key_heads_in_groups() {
        let shape = AttentionShape {
            heads: 4,
            kv_heads: 2,
            kv_tokens: 1,
            ..ONE_HEAD
        };
        // One key: every head returns its value head.
        let out = attention(&[1.0; 4], &[1.0; 2], &[5.0, 9.0], None, 1.0, shape);
        assert_eq!(out, [5.0, 5.0, 9.0, 9.0]);
    }
}
