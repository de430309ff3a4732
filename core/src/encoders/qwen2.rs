//! Qwen2's decoder, which Qwen2.5-VL, InternVL2.5 and MiniCPM-o share.
//!
//! Grouped-query attention with biased q, k and v, SwiGLU, RMSNorm before each. It gives the hidden
//! states of every layer, since AlignNet reads them all. Positions come in as a [`Rope`], so that
//! plain and multimodal (M-RoPE) positions are the same code. Source: transformers 4.49's
//! `modeling_qwen2_5_vl.py`; field names are the published checkpoint's.
//!
//! Not supported: sliding windows (the published configs turn them off), dropout, batches of
//! prompts.

use burn::tensor::activation::silu;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::config::Qwen2Config;
use crate::error::Result;
use crate::nn::rope::Rope;
use crate::nn::{Bias, Embedding, Linear, RmsNorm, attention};
use crate::weights::Scope;

/// Keys and values of every layer for the tokens read so far.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
}

impl KvCache {
    /// Forgets all but the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        for layer in &mut self.layers {
            *layer = layer.take().filter(|_| tokens > 0).map(|all| KeysValues {
                keys: all.keys.narrow(2, 0, tokens),
                values: all.values.narrow(2, 0, tokens),
            });
        }
    }
}

/// One layer's; none before the first token.
type LayerCache = Option<KeysValues>;

/// Each `[1, kv_heads, tokens, head_dim]`.
#[derive(Debug, Clone)]
struct KeysValues {
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
}

/// The decoder with its token embedding and head.
#[derive(Debug)]
pub struct Qwen2 {
    embed_tokens: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    lm_head: Linear,
}

impl Qwen2 {
    /// Reads `model.*` and, where it is not tied, `lm_head` under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &Qwen2Config, scope: &Scope<'_>) -> Result<Self> {
        let model = scope.child("model");
        let (vocabulary, width) = (config.vocab_size, config.hidden_size);
        let embed_tokens = Embedding::load(&model.child("embed_tokens"), vocabulary, width).await?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            layers.push(DecoderLayer::load(config, &model.child("layers").child(index)).await?);
        }
        let norm =
            RmsNorm::load(&model.child("norm"), "weight", width, config.rms_norm_eps).await?;
        let lm_head = if config.tie_word_embeddings {
            embed_tokens.as_head()
        } else {
            Linear::load(&scope.child("lm_head"), width, vocabulary, Bias::No).await?
        };
        Ok(Self {
            embed_tokens,
            layers,
            norm,
            lm_head,
        })
    }

    /// The cache before any token.
    pub fn empty_cache(&self) -> KvCache {
        KvCache {
            layers: vec![None; self.layers.len()],
        }
    }

    /// Token ids -> `[1, tokens, hidden]`.
    pub fn embed(&self, ids: &[u32], device: &Device) -> Tensor<3> {
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let tokens = ids.len();
        self.embed_tokens.forward(Tensor::<2, Int>::from_data(
            TensorData::new(ids, [1, tokens]),
            device,
        ))
    }

    /// Runs all layers over `[1, tokens, hidden]`, which follow what `cache` holds.
    ///
    /// `mask` is added to the scores, `[1, 1, tokens, cached + tokens]`. Gives the layers' states
    /// `[1, layers + 1, tokens, hidden]`: the embedding, every layer but the last, and the last one
    /// after the final norm, as transformers' `output_hidden_states`.
    ///
    /// # Errors
    /// The errors of `before_layer`, which is called before every layer, so that a caller can stop.
    pub async fn forward(
        &self,
        embeddings: Tensor<3>,
        rope: &Rope,
        mask: Option<Tensor<4>>,
        cache: &mut KvCache,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<4>> {
        let mut states = Vec::with_capacity(self.layers.len() + 1);
        let mut hidden_states = embeddings;
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            before_layer().await?;
            states.push(hidden_states.clone().unsqueeze_dim::<4>(1));
            hidden_states = layer.forward(hidden_states, rope, mask.clone(), cache);
        }
        states.push(self.norm.forward(hidden_states).unsqueeze_dim::<4>(1));
        Ok(Tensor::cat(states, 1)) // [1, layers + 1, tokens, hidden]
    }

    /// Logits `[1, vocabulary]` after the last token of [`forward`](Self::forward)'s states.
    pub fn logits(&self, states: &Tensor<4>) -> Tensor<2> {
        let [_, layers, tokens, hidden] = states.dims();
        let last = states
            .clone()
            .narrow(1, layers - 1, 1)
            .narrow(2, tokens - 1, 1);
        self.lm_head.forward(last.reshape([1, hidden]))
    }

    /// Logits `[tokens, vocabulary]` after each token of [`forward`](Self::forward)'s states.
    pub fn logits_of_all(&self, states: &Tensor<4>) -> Tensor<2> {
        let [_, layers, tokens, hidden] = states.dims();
        let last = states.clone().narrow(1, layers - 1, 1);
        self.lm_head.forward(last.reshape([tokens, hidden]))
    }
}

#[derive(Debug)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: SelfAttention,
    post_attention_layernorm: RmsNorm,
    mlp: SwiGlu,
}

impl DecoderLayer {
    async fn load(config: &Qwen2Config, scope: &Scope<'_>) -> Result<Self> {
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
    fn forward(
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

#[derive(Debug)]
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
#[derive(Debug)]
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

/// Additive mask `[1, 1, queries, keys]` of the queries that begin at `first`: a query sees the
/// kept keys up to itself. `keep` is false for padding and as long as all keys.
///
/// Masked keys carry `f32::MIN`, so that a query that sees nothing (left padding) averages over
/// all keys, later ones included, as PyTorch does on the CPU.
pub fn causal_mask(keep: &[bool], first: usize, queries: usize, device: &Device) -> Tensor<4> {
    let keys = keep.len();
    let mut mask = Vec::with_capacity(queries * keys);
    for query in first..first + queries {
        let seen = |(key, &kept): (usize, &bool)| if kept && key <= query { 0.0 } else { f32::MIN };
        mask.extend(keep.iter().enumerate().map(seen));
    }
    Tensor::from_data(TensorData::new(mask, [1, 1, queries, keys]), device)
}

/// Rotary frequencies, and which of a token's three positions turns each.
#[derive(Debug, Clone)]
pub struct Rotary {
    /// `1 / theta^(2k / head_dim)` beside an axis of [`Position`].
    frequencies: Vec<(f32, usize)>,
}

/// A token's temporal, row and column position; all three equal for text.
pub type Position = [i64; 3];

impl Rotary {
    /// `sections` frequencies turn by each axis, in order; they add up to half of `head_dim`.
    /// A decoder with plain positions gives one section.
    pub fn new(head_dim: usize, theta: f64, sections: &[usize]) -> Self {
        let axes = sections
            .iter()
            .enumerate()
            .flat_map(|(axis, &count)| std::iter::repeat_n(axis, count));
        let frequency = |k: usize| 1.0 / (theta as f32).powf((2 * k) as f32 / head_dim as f32);
        Self {
            frequencies: axes
                .enumerate()
                .map(|(k, axis)| (frequency(k), axis))
                .collect(),
        }
    }

    /// Angles of `positions`, `[tokens, head_dim]`.
    pub fn rope(&self, positions: &[Position], device: &Device) -> Rope {
        let angles = positions.iter().flat_map(|position| {
            self.frequencies
                .iter()
                .map(|&(frequency, axis)| frequency * position[axis] as f32)
        });
        rope_of_angles(angles.collect(), positions.len(), device)
    }
}

/// A [`Rope`] of `angles` `[tokens, head_dim / 2]`; both halves of a head turn by the same ones.
pub(crate) fn rope_of_angles(angles: Vec<f32>, tokens: usize, device: &Device) -> Rope {
    let half = angles.len() / tokens.max(1);
    let doubled = |turn: fn(f32) -> f32| {
        let half = Tensor::<2>::from_data(
            TensorData::new(
                angles
                    .iter()
                    .map(|&angle| turn(angle))
                    .collect::<Vec<f32>>(),
                [tokens, half],
            ),
            device,
        );
        Tensor::cat(vec![half.clone(), half], 1)
    };
    Rope {
        cos: doubled(f32::cos),
        sin: doubled(f32::sin),
    }
}
