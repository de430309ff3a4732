//! A layer of Qwen2's decoder: grouped-query attention with biased q, k and v, SwiGLU, RMSNorm before each.
//!
//! Source: transformers 4.49's `modeling_qwen2_5_vl.py`; field names are the published checkpoint's.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;

use crate::config::Qwen2Config;
use crate::error::Result;
use crate::nn::rope::Rope;
use crate::nn::{Bias, Linear, RmsNorm, attention};
use crate::weights::Scope;

/// Keys and values of one layer for the tokens read so far; none before the first token.
pub(super) type LayerCache = Option<KeysValues>;

/// Each `[1, kv_heads, tokens, head_dim]`.
#[derive(Debug, Clone)]
pub(super) struct KeysValues {
    keys: Tensor<4>,
    values: Tensor<4>,
}

impl KeysValues {
    /// Appends these to a layer's cache and gives all of them.
    fn append_to(self, cache: &mut LayerCache) -> Self {
        let all = match cache.take() {
            None => self,
            Some(past) => Self {
                keys: Tensor::cat(vec![past.keys, self.keys], 2),
                values: Tensor::cat(vec![past.values, self.values], 2),
            },
        };
        *cache = Some(all.clone());
        all
    }

    /// Those of the first `tokens`; `None` of none.
    pub(super) fn first(self, tokens: usize) -> Option<Self> {
        (tokens > 0).then(|| Self {
            keys: self.keys.narrow(2, 0, tokens),
            values: self.values.narrow(2, 0, tokens),
        })
    }
}

/// Attention and an MLP, a norm before each.
#[derive(Debug, Clone)]
pub(super) struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: SelfAttention,
    post_attention_layernorm: RmsNorm,
    mlp: SwiGlu,
}

impl DecoderLayer {
    pub(super) async fn load(config: &Qwen2Config, scope: &Scope<'_>) -> Result<Self> {
        let (width, eps) = (config.hidden_size, config.rms_norm_eps);
        let norm = async |name| RmsNorm::load(&scope.child(name), "weight", width, eps).await;
        Ok(Self {
            input_layernorm: norm("input_layernorm").await?,
            self_attn: SelfAttention::load(config, &scope.child("self_attn")).await?,
            post_attention_layernorm: norm("post_attention_layernorm").await?,
            mlp: SwiGlu::load(
                &scope.child("mlp"),
                width,
                config.intermediate_size,
                Bias::No,
            )
            .await?,
        })
    }

    /// `[1, tokens, hidden]`, same shape out.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        rope: &Rope,
        mask: Option<Tensor<4>>,
        cache: &mut LayerCache,
    ) -> Tensor<3> {
        let normed = self.input_layernorm.forward(x.clone());
        let x = x + self.self_attn.forward(normed, rope, mask, cache);
        let normed = self.post_attention_layernorm.forward(x.clone());
        x + self.mlp.forward(normed)
    }
}

#[derive(Debug, Clone)]
struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    head_dim: usize,
}

impl SelfAttention {
    async fn load(config: &Qwen2Config, scope: &Scope<'_>) -> Result<Self> {
        let (width, head_dim) = (config.hidden_size, config.head_dim());
        let kv_width = config.num_key_value_heads * head_dim;
        let load =
            async |name, output, bias| Linear::load(&scope.child(name), width, output, bias).await;
        Ok(Self {
            q_proj: load("q_proj", width, Bias::Yes).await?,
            k_proj: load("k_proj", kv_width, Bias::Yes).await?,
            v_proj: load("v_proj", kv_width, Bias::Yes).await?,
            o_proj: load("o_proj", width, Bias::No).await?,
            head_dim,
        })
    }

    fn forward(
        &self,
        x: Tensor<3>,
        rope: &Rope,
        mask: Option<Tensor<4>>,
        cache: &mut LayerCache,
    ) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let heads = |x: Tensor<3>| {
            let heads = x.dims()[2] / self.head_dim;
            x.reshape([batch, tokens, heads, self.head_dim])
                .swap_dims(1, 2) // [1, heads, tokens, head_dim]
        };
        let q = rope.rotate_halves(heads(self.q_proj.forward(x.clone())));
        let k = rope.rotate_halves(heads(self.k_proj.forward(x.clone())));
        let v = heads(self.v_proj.forward(x));
        let new = KeysValues { keys: k, values: v };
        let KeysValues { keys, values } = new.append_to(cache);
        let scale = 1.0 / (self.head_dim as f32).sqrt();
        let mixed = attention(q, keys, values, mask, scale); // [1, heads, tokens, head_dim]
        self.o_proj
            .forward(mixed.swap_dims(1, 2).reshape([batch, tokens, width]))
    }
}

/// `down(silu(gate(x)) * up(x))`, the decoder's and the vision tower's MLP.
#[derive(Debug, Clone)]
pub(crate) struct SwiGlu {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

impl SwiGlu {
    pub(crate) async fn load(
        scope: &Scope<'_>,
        width: usize,
        inner: usize,
        bias: Bias,
    ) -> Result<Self> {
        Ok(Self {
            gate_proj: Linear::load(&scope.child("gate_proj"), width, inner, bias).await?,
            up_proj: Linear::load(&scope.child("up_proj"), width, inner, bias).await?,
            down_proj: Linear::load(&scope.child("down_proj"), inner, width, bias).await?,
        })
    }

    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let gate = silu(self.gate_proj.forward(x.clone()));
        self.down_proj.forward(gate * self.up_proj.forward(x))
    }
}
