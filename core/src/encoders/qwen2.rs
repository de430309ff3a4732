//! Qwen2's decoder, which Qwen2.5-VL, InternVL2.5 and MiniCPM-o share.
//!
//! It gives the hidden states of every layer (`decoder_layer`), since AlignNet reads them all. Positions
//! come in as a [`Rope`], so that plain and multimodal (M-RoPE) positions are the same code. Source:
//! transformers 4.49's `modeling_qwen2_5_vl.py`; field names are the published checkpoint's.
//!
//! Not supported: sliding windows (the published configs turn them off), dropout, batches of
//! prompts.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::decoder_layer::LayerCache;
use super::layers::Layers;
use crate::config::Qwen2Config;
use crate::error::Result;
use crate::nn::rope::Rope;
use crate::nn::{Bias, Embedding, Linear, RmsNorm};
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
            *layer = layer.take().and_then(|all| all.first(tokens));
        }
    }
}

/// The decoder with its token embedding and head.
#[derive(Debug)]
pub struct Qwen2 {
    embed_tokens: Embedding,
    layers: Layers,
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
        let layers = Layers::load(config, &model.child("layers")).await?;
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
    /// The errors of `before_layer`, which is called before every layer, so that a caller can stop, and those of
    /// reading a layer that is not on the device.
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
        for (index, cache) in cache.layers.iter_mut().enumerate() {
            before_layer().await?;
            let layer = self.layers.get(index, &hidden_states).await?;
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
