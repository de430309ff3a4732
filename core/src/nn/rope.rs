//! Rotary position embeddings in both pairings: neighbours (FLUX) and halves (Qwen).

use burn::tensor::Tensor;

/// Cosines and sines, `[tokens, head_dim]`, of one token each row.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Cosine of every channel's angle.
    pub cos: Tensor<2>,
    /// Sine of every channel's angle.
    pub sin: Tensor<2>,
}

/// Which channels turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Channels 2k and 2k+1 (FLUX).
    Neighbours,
    /// Channels k and k + head_dim/2 (Qwen, "rotate half").
    Halves,
}

impl Rope {
    /// Turns `x` `[batch, heads, tokens, head_dim]`.
    pub fn apply(&self, x: Tensor<4>, pairing: Pairing) -> Tensor<4> {
        let [batch, heads, tokens, head_dim] = x.dims();
        let turned = match pairing {
            Pairing::Neighbours => {
                let pairs = x.clone().reshape([batch * heads, tokens, head_dim / 2, 2]);
                let even = pairs.clone().narrow(3, 0, 1);
                let odd = pairs.narrow(3, 1, 1);
                Tensor::cat(vec![-odd, even], 3).reshape([batch, heads, tokens, head_dim])
            }
            Pairing::Halves => {
                let first = x.clone().narrow(3, 0, head_dim / 2);
                let second = x.clone().narrow(3, head_dim / 2, head_dim / 2);
                Tensor::cat(vec![-second, first], 3)
            }
        };
        x * self.cos.clone().unsqueeze() + turned * self.sin.clone().unsqueeze()
    }
}
