//! A stack of T5 encoder blocks (v1.1: gated `gelu_new`, relative position bias, no biases).
//!
//! Source: transformers' `T5Stack`. AlignNet's optional stack and the teacher's text encoder use it. No
//! attention mask: X2I and FLUX give none. Not here: a token embedding.

use burn::tensor::{Tensor, TensorData};

use super::{Bias, Linear, RmsNorm, attention, gelu_tanh};
use crate::config::T5StackConfig;
use crate::error::Result;
use crate::weights::Scope;

const EPS: f64 = 1e-6;
/// Distances from here on share the last bucket.
const MAX_DISTANCE: f64 = 128.0;

#[derive(Debug)]
struct Block {
    attention_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    feed_forward_norm: RmsNorm,
    wi_0: Linear,
    wi_1: Linear,
    wo: Linear,
}

/// The stack; width stays the same.
#[derive(Debug)]
pub struct T5Stack {
    blocks: Vec<Block>,
    relative_attention_bias: Tensor<2>, // [buckets, heads]
    final_layer_norm: RmsNorm,
    config: T5StackConfig,
}

impl Block {
    async fn load(scope: &Scope<'_>, width: usize, config: &T5StackConfig) -> Result<Self> {
        let inner = config.num_heads * config.head_dim;
        let feed_forward = config.feed_forward_size;
        let norm = async |name| RmsNorm::load(&scope.child(name), "weight", width, EPS).await;
        let linear = async |name, input, output| {
            Linear::load(&scope.child(name), input, output, Bias::No).await
        };
        Ok(Self {
            attention_norm: norm("layer.0.layer_norm").await?,
            q: linear("layer.0.SelfAttention.q", width, inner).await?,
            k: linear("layer.0.SelfAttention.k", width, inner).await?,
            v: linear("layer.0.SelfAttention.v", width, inner).await?,
            o: linear("layer.0.SelfAttention.o", inner, width).await?,
            feed_forward_norm: norm("layer.1.layer_norm").await?,
            wi_0: linear("layer.1.DenseReluDense.wi_0", width, feed_forward).await?,
            wi_1: linear("layer.1.DenseReluDense.wi_1", width, feed_forward).await?,
            wo: linear("layer.1.DenseReluDense.wo", feed_forward, width).await?,
        })
    }

    fn forward(&self, x: Tensor<3>, position_bias: Tensor<4>, heads: usize) -> Tensor<3> {
        let normed = self.attention_norm.forward(x.clone());
        let split = |t: Tensor<3>| {
            let [batch, tokens, inner] = t.dims();
            t.reshape([batch, tokens, heads, inner / heads])
                .swap_dims(1, 2)
        };
        let (q, k, v) = (
            split(self.q.forward(normed.clone())),
            split(self.k.forward(normed.clone())),
            split(self.v.forward(normed)),
        );
        let [batch, _, tokens, head_dim] = q.dims();
        // T5 does not scale its logits.
        let attn = attention(q, k, v, Some(position_bias), 1.0)
            .swap_dims(1, 2)
            .reshape([batch, tokens, heads * head_dim]);
        let x = x + self.o.forward(attn);
        let normed = self.feed_forward_norm.forward(x.clone());
        let gated = gelu_tanh(self.wi_0.forward(normed.clone())) * self.wi_1.forward(normed);
        x + self.wo.forward(gated)
    }
}

impl T5Stack {
    /// Reads `block.*` and `final_layer_norm` under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(scope: &Scope<'_>, width: usize, config: &T5StackConfig) -> Result<Self> {
        let mut blocks = Vec::with_capacity(config.num_layers);
        for index in 0..config.num_layers {
            blocks.push(Block::load(&scope.child("block").child(index), width, config).await?);
        }
        let bias = scope.child("block.0.layer.0.SelfAttention.relative_attention_bias");
        Ok(Self {
            blocks,
            relative_attention_bias: bias
                .tensor("weight", [config.num_buckets, config.num_heads])
                .await?,
            final_layer_norm: RmsNorm::load(&scope.child("final_layer_norm"), "weight", width, EPS)
                .await?,
            config: *config,
        })
    }

    /// `[batch, tokens, width]`, same shape out.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.forward_with(x, |_| {})
    }

    /// [`forward`](Self::forward), which shows what every block gives.
    pub fn forward_with(&self, x: Tensor<3>, mut on_block: impl FnMut(&Tensor<3>)) -> Tensor<3> {
        let position_bias = self.position_bias(x.dims()[1]);
        let x = self.blocks.iter().fold(x, |x, block| {
            let x = block.forward(x, position_bias.clone(), self.config.num_heads);
            on_block(&x);
            x
        });
        self.final_layer_norm.forward(x)
    }

    /// `[1, heads, tokens, tokens]`, added to every block's logits.
    fn position_bias(&self, tokens: usize) -> Tensor<4> {
        let buckets: Vec<i32> = (0..tokens)
            .flat_map(|query| (0..tokens).map(move |key| (query, key)))
            .map(|(query, key)| bucket(key as i64 - query as i64, self.config.num_buckets) as i32)
            .collect();
        let device = self.relative_attention_bias.device();
        let buckets = Tensor::from_data(TensorData::new(buckets, [tokens * tokens]), &device);
        self.relative_attention_bias
            .clone()
            .select(0, buckets)
            .reshape([tokens, tokens, self.config.num_heads])
            .permute([2, 0, 1])
            .unsqueeze::<4>() // [1, heads, tokens, tokens]
    }
}

/// The bucket of a distance: half for each sign; the near half of those exact, the rest logarithmic.
fn bucket(distance: i64, buckets: usize) -> usize {
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    let exact = half / 2;
    if distance < exact {
        return side + distance;
    }
    // In f32, as torch computes it: the rounding decides at the borders.
    let ratio = (distance as f32 / exact as f32).ln() / (MAX_DISTANCE / exact as f64).ln() as f32;
    let logarithmic = exact + (ratio * (half - exact) as f32) as usize;
    side + logarithmic.min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn near_distances_are_exact_and_far_ones_share_a_bucket() {
        assert_eq!([bucket(0, 32), bucket(-3, 32), bucket(3, 32)], [0, 3, 19]);
        assert_eq!(
            [bucket(-8, 32), bucket(-500, 32), bucket(500, 32)],
            [8, 15, 31]
        );
    }
}
