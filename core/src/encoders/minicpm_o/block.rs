//! The pre-norm transformer block of both towers.
//!
//! SigLIP's and Whisper's differ only in names, activation and the key's bias. Source: X2I's
//! `minicpm/modeling_navit_siglip.py`; transformers 4.49's `modeling_whisper.py`.

use burn::tensor::Tensor;
use burn::tensor::activation::gelu;

use crate::error::Result;
use crate::nn::{Bias, LayerNorm, Linear, attention, gelu_tanh};
use crate::weights::Scope;

/// The activation between an MLP's two layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// The exact GELU.
    Gelu,
    /// Its approximation by a hyperbolic tangent.
    GeluTanh,
}

/// Sizes and names of a block.
pub(super) struct BlockConfig {
    pub width: usize,
    /// Width inside the MLP.
    pub inner: usize,
    pub heads: usize,
    /// Epsilon of the norms.
    pub eps: f64,
    /// Whether `k_proj` has a bias; the other projections do.
    pub key_bias: Bias,
    pub activation: Activation,
    /// The norm before the attention, that before the MLP, and the MLP's two layers.
    pub names: [&'static str; 4],
}

/// A block.
#[derive(Debug)]
pub(super) struct Block {
    attention_norm: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    mlp_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    activation: Activation,
}

impl Block {
    /// Reads a block under `scope`.
    pub async fn load(config: &BlockConfig, scope: &Scope<'_>) -> Result<Self> {
        let &BlockConfig {
            width, inner, eps, ..
        } = config;
        let [attention_norm, mlp_norm, fc1, fc2] = config.names.map(|name| scope.child(name));
        let attention = scope.child("self_attn");
        let project =
            async |name, bias| Linear::load(&attention.child(name), width, width, bias).await;
        Ok(Self {
            attention_norm: LayerNorm::load(&attention_norm, width, eps).await?,
            q_proj: project("q_proj", Bias::Yes).await?,
            k_proj: project("k_proj", config.key_bias).await?,
            v_proj: project("v_proj", Bias::Yes).await?,
            out_proj: project("out_proj", Bias::Yes).await?,
            mlp_norm: LayerNorm::load(&mlp_norm, width, eps).await?,
            fc1: Linear::load(&fc1, width, inner, Bias::Yes).await?,
            fc2: Linear::load(&fc2, inner, width, Bias::Yes).await?,
            heads: config.heads,
            activation: config.activation,
        })
    }

    /// `[batch, tokens, width]`, same shape out; `mask` is added to the scores,
    /// `[1, 1, tokens, tokens]`.
    pub fn forward(&self, x: Tensor<3>, mask: Option<Tensor<4>>) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let head_dim = width / self.heads;
        let heads = |x: Tensor<3>| {
            x.reshape([batch, tokens, self.heads, head_dim])
                .swap_dims(1, 2) // [batch, heads, tokens, head_dim]
        };
        let normed = self.attention_norm.forward(x.clone());
        let q = heads(self.q_proj.forward(normed.clone()));
        let k = heads(self.k_proj.forward(normed.clone()));
        let v = heads(self.v_proj.forward(normed));
        let mixed = attention(q, k, v, mask, 1.0 / (head_dim as f32).sqrt());
        let mixed = mixed.swap_dims(1, 2).reshape([batch, tokens, width]);
        let x = x + self.out_proj.forward(mixed);
        let inner = self.fc1.forward(self.mlp_norm.forward(x.clone()));
        let inner = match self.activation {
            Activation::Gelu => gelu(inner),
            Activation::GeluTanh => gelu_tanh(inner),
        };
        x + self.fc2.forward(inner)
    }
}
