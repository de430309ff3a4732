//! Rotary position embeddings: the angles of every token, and Qwen's rotation of half against half.
//!
//! FLUX rotates neighbouring channels instead, in one kernel with its norms
//! (`x2i_shaders::norm_rope`).

use burn::tensor::Tensor;

/// Cosines and sines, `[tokens, head_dim]`, of one token each row.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Cosine of every channel's angle.
    pub cos: Tensor<2>,
    /// Sine of every channel's angle.
    pub sin: Tensor<2>,
}

impl Rope {
    /// Turns channels k and k + head_dim/2 of `x` `[batch, heads, tokens, head_dim]` ("rotate half").
    pub fn rotate_halves(&self, x: Tensor<4>) -> Tensor<4> {
        let half = x.dims()[3] / 2;
        let first = x.clone().narrow(3, 0, half);
        let second = x.clone().narrow(3, half, half);
        let turned = Tensor::cat(vec![-second, first], 3);
        x * self.cos.clone().unsqueeze() + turned * self.sin.clone().unsqueeze()
    }
}
