//! CLIP's text model, as FLUX uses it: for the pooled state of the first end-of-text.
//!
//! Source: transformers' `CLIPTextModel`. Tokens see those before them; padding has no mask of its own.
//! Left out: the projection and the vision model.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::ids::ids_tensor;
use crate::config::ClipTextConfig;
use crate::error::Result;
use crate::nn::{Bias, Embedding, LayerNorm, Linear, attention};
use crate::weights::Scope;

/// What the model gives.
#[derive(Debug, Clone)]
pub struct ClipOutput {
    /// Every token's state after the final norm, `[batch, tokens, width]`.
    pub last_hidden_state: Tensor<3>,
    /// That of the first end-of-text, `[batch, width]`.
    pub pooler_output: Tensor<2>,
}

/// The model.
#[derive(Debug)]
pub struct ClipText {
    token_embedding: Embedding,
    position_embedding: Tensor<2>, // [tokens, width]
    layers: Vec<Layer>,
    final_layer_norm: LayerNorm,
    config: ClipTextConfig,
    device: Device,
}

/// A pre-norm block; fields are the checkpoint's names.
#[derive(Debug)]
struct Layer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Layer {
    async fn load(scope: &Scope<'_>, config: &ClipTextConfig) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let norm =
            async |name| LayerNorm::load(&scope.child(name), width, config.layer_norm_eps).await;
        let linear = async |name, input, output| {
            Linear::load(&scope.child(name), input, output, Bias::Yes).await
        };
        Ok(Self {
            layer_norm1: norm("layer_norm1").await?,
            q_proj: linear("self_attn.q_proj", width, width).await?,
            k_proj: linear("self_attn.k_proj", width, width).await?,
            v_proj: linear("self_attn.v_proj", width, width).await?,
            out_proj: linear("self_attn.out_proj", width, width).await?,
            layer_norm2: norm("layer_norm2").await?,
            fc1: linear("mlp.fc1", width, inner).await?,
            fc2: linear("mlp.fc2", inner, width).await?,
        })
    }

    fn forward(&self, x: Tensor<3>, mask: Tensor<4>, heads: usize) -> Tensor<3> {
        let [batch, tokens, width] = x.dims();
        let head_dim = width / heads;
        let split = |t: Tensor<3>| t.reshape([batch, tokens, heads, head_dim]).swap_dims(1, 2);
        let normed = self.layer_norm1.forward(x.clone());
        let attn = attention(
            split(self.q_proj.forward(normed.clone())),
            split(self.k_proj.forward(normed.clone())),
            split(self.v_proj.forward(normed)),
            Some(mask),
            (head_dim as f32).sqrt().recip(),
        );
        let attn = attn.swap_dims(1, 2).reshape([batch, tokens, width]);
        let x = x + self.out_proj.forward(attn);
        let hidden = self.fc1.forward(self.layer_norm2.forward(x.clone()));
        x + self.fc2.forward(quick_gelu(hidden))
    }
}

impl ClipText {
    /// Reads `text_model.*` under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &ClipTextConfig, scope: &Scope<'_>) -> Result<Self> {
        let model = scope.child("text_model");
        let embeddings = model.child("embeddings");
        let width = config.hidden_size;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for index in 0..config.num_hidden_layers {
            layers.push(Layer::load(&model.child("encoder.layers").child(index), config).await?);
        }
        Ok(Self {
            token_embedding: Embedding::load(
                &embeddings.child("token_embedding"),
                config.vocab_size,
                width,
            )
            .await?,
            position_embedding: embeddings
                .child("position_embedding")
                .tensor("weight", [config.max_position_embeddings, width])
                .await?,
            layers,
            final_layer_norm: LayerNorm::load(
                &model.child("final_layer_norm"),
                width,
                config.layer_norm_eps,
            )
            .await?,
            config: config.clone(),
            device: scope.device().clone(),
        })
    }

    /// The length of a prompt: 77.
    pub fn tokens(&self) -> usize {
        self.config.max_position_embeddings
    }

    /// All rows of `ids` have one length.
    ///
    /// # Panics
    /// Without a row, and when a row is longer than [`tokens`](Self::tokens).
    pub fn forward(&self, ids: &[Vec<u32>]) -> ClipOutput {
        self.forward_with(ids, |_| {})
    }

    /// [`forward`](Self::forward), which shows the embedding and what every layer gives, before the final
    /// norm.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn forward_with(
        &self,
        ids: &[Vec<u32>],
        mut on_state: impl FnMut(&Tensor<3>),
    ) -> ClipOutput {
        let tokens = ids.first().map_or(0, Vec::len);
        let positions = self.position_embedding.clone().narrow(0, 0, tokens);
        let embedded = self.token_embedding.forward(ids_tensor(ids, &self.device));
        let mut x = embedded + positions.unsqueeze::<3>(); // [batch, tokens, width]
        on_state(&x);
        let mask = causal_mask(tokens, &self.device);
        for layer in &self.layers {
            x = layer.forward(x, mask.clone(), self.config.num_attention_heads);
            on_state(&x);
        }
        let last_hidden_state = self.final_layer_norm.forward(x);
        let pooled = ids.iter().enumerate().map(|(row, ids)| {
            let at = self.config.pooled_at(ids);
            let state = last_hidden_state.clone().slice([row..row + 1, at..at + 1]);
            state.squeeze_dim::<2>(1) // [1, width]
        });
        ClipOutput {
            pooler_output: Tensor::cat(pooled.collect(), 0),
            last_hidden_state,
        }
    }
}

/// What OpenAI's CLIP has in GELU's place.
fn quick_gelu(x: Tensor<3>) -> Tensor<3> {
    x.clone() * activation::sigmoid(x * 1.702)
}

/// `[1, 1, tokens, tokens]`: no token sees a later one.
fn causal_mask(tokens: usize, device: &Device) -> Tensor<4> {
    let rows = (0..tokens).flat_map(|query| (0..tokens).map(move |key| key > query));
    let mask = rows.map(|later| if later { f32::MIN } else { 0.0 });
    let data = TensorData::new(mask.collect::<Vec<f32>>(), [1, 1, tokens, tokens]);
    Tensor::from_data(data, device)
}
