//! Qwen2's config: the decoder of every multimodal LLM that X2I has aligners for.

use serde::{Deserialize, Serialize};

use super::checks::{check, check_eps, check_sizes};
use super::limits::{HEADS, LAYERS, POSITIONS, VOCABULARY, WIDTH, check_limits};
use crate::error::Result;

/// Sizes of the decoder, under the names of its `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Qwen2Config {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside an MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// The longest sequence, in tokens.
    #[serde(default = "default_max_position")]
    pub max_position_embeddings: usize,
    /// Epsilon of every RMSNorm.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// True when the head shares the embedding's weight.
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

fn default_max_position() -> usize {
    32_768
}

fn default_eps() -> f64 {
    1e-6
}

fn default_theta() -> f64 {
    10_000.0
}

impl Qwen2Config {
    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Checks the numbers; `prefix` stands before the keys' names in errors, such as `llm_config.`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that can't be.
    pub(super) fn validate(&self, file: &str, prefix: &str) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        check_sizes(file, prefix, &sizes)?;
        let limits = [
            ("vocab_size", self.vocab_size, VOCABULARY),
            ("hidden_size", self.hidden_size, WIDTH),
            ("intermediate_size", self.intermediate_size, WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, LAYERS),
            ("num_attention_heads", self.num_attention_heads, HEADS),
            ("num_key_value_heads", self.num_key_value_heads, HEADS),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                POSITIONS,
            ),
        ];
        check_limits(file, prefix, &limits)?;
        let (eps, theta) = (self.rms_norm_eps, self.rope_theta);
        check_eps(file, &format!("{prefix}rms_norm_eps"), eps)?;
        check(file, theta.is_finite() && theta > 0.0, || {
            format!("{prefix}rope_theta {theta} must be a number above 0")
        })?;
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        check(file, width.is_multiple_of(heads.saturating_mul(2)), || {
            format!(
                "{prefix}hidden_size {width} can't be split into {heads} heads of an even width"
            )
        })?;
        let shared = self.num_key_value_heads;
        check(file, heads.is_multiple_of(shared), || {
            format!("{prefix}num_attention_heads {heads} can't share {shared} key/value heads")
        })
    }
}
