//! AlignNet: turns the hidden states of all layers of the LLM into what FLUX expects from T5 and
//! CLIP.
//!
//! Source: X2I `utils/proj.py` (`Proj7Exp`, `MLP3`). It is the only part that X2I trains. There is
//! no mask: padding takes part, as in the reference.

use burn::tensor::{Tensor, activation};

use crate::config::{AlignNetConfig, Mix};
use crate::error::Result;
use crate::nn::t5::T5Stack;
use crate::nn::{Bias, LayerNorm, Linear, matmul};
use crate::weights::Scope;

/// The conditioning of FLUX.
#[derive(Debug, Clone)]
pub struct Conditioning {
    /// `[batch, tokens, text_dim]`, in T5's place.
    pub txt: Tensor<3>,
    /// `[batch, pooled_dim]`, in CLIP's place.
    pub vec: Tensor<2>,
}

/// The mix of layers, with its weights.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a model has one")]
enum Mixer {
    Conv { weight: Tensor<4>, bias: Tensor<1> }, // [1, layers, kernel, kernel], [1]
    Scale { weight: Tensor<4> },                 // cha_scale [1, layers, 1, 1]
    Mean,
}

/// The network; fields are the checkpoint's names.
#[derive(Debug)]
pub struct AlignNet {
    t5stack: Option<T5Stack>,
    mixer: Mixer,
    layernorm: LayerNorm,
    projector_0: Linear,
    projector_2: Linear,
    fc: Linear,
}

impl AlignNet {
    /// Reads all weights under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &AlignNetConfig, scope: &Scope<'_>) -> Result<Self> {
        let &AlignNetConfig {
            in_channels,
            input_dim,
            pooled_dim,
            text_dim,
            norm_eps,
            mix,
            ..
        } = config;
        let t5stack = match &config.t5 {
            Some(t5) => Some(T5Stack::load(&scope.child("t5stack"), input_dim, t5).await?),
            None => None,
        };
        let mixer = match mix {
            Mix::Conv { kernel } => {
                let conv = scope.child("conv");
                Mixer::Conv {
                    weight: conv
                        .tensor("weight", [1, in_channels, kernel, kernel])
                        .await?,
                    bias: conv.tensor("bias", [1]).await?,
                }
            }
            Mix::Scale => Mixer::Scale {
                weight: scope.tensor("cha_scale", [1, in_channels, 1, 1]).await?,
            },
            Mix::Mean => Mixer::Mean,
        };
        let mlp = scope.child("mlp");
        Ok(Self {
            t5stack,
            mixer,
            layernorm: LayerNorm::load(&mlp.child("layernorm"), input_dim, norm_eps).await?,
            projector_0: Linear::load(&mlp.child("projector.0"), input_dim, text_dim, Bias::No)
                .await?,
            projector_2: Linear::load(&mlp.child("projector.2"), text_dim, text_dim, Bias::No)
                .await?,
            fc: Linear::load(&mlp.child("fc.1"), text_dim, pooled_dim, Bias::Yes).await?,
        })
    }

    /// `hidden_states` `[batch, layers, tokens, input_dim]`.
    pub fn forward(&self, hidden_states: Tensor<4>) -> Conditioning {
        let mixed = self.mix(self.run_t5(hidden_states)); // [batch, tokens, input_dim]
        let hidden = activation::gelu(self.projector_0.forward(self.layernorm.forward(mixed)));
        let txt = self.projector_2.forward(hidden);
        let pooled = self.fc.forward(activation::gelu(txt.clone())).mean_dim(1); // [batch, 1, pooled_dim]
        Conditioning {
            txt,
            vec: pooled.squeeze_dim::<2>(1),
        }
    }

    /// The T5 stack reads every layer's states as a sequence of its own.
    fn run_t5(&self, hidden_states: Tensor<4>) -> Tensor<4> {
        let Some(t5stack) = &self.t5stack else {
            return hidden_states;
        };
        let [batch, layers, tokens, width] = hidden_states.dims();
        t5stack
            .forward(hidden_states.reshape([batch * layers, tokens, width]))
            .reshape([batch, layers, tokens, width])
    }

    /// All layers become one: `[batch, layers, tokens, width]` -> `[batch, tokens, width]`.
    pub fn mix(&self, hidden_states: Tensor<4>) -> Tensor<3> {
        match &self.mixer {
            Mixer::Conv { weight, bias } => {
                conv_to_one_channel(hidden_states, weight.clone(), bias.clone())
            }
            Mixer::Scale { weight } => (hidden_states * weight.clone())
                .mean_dim(1)
                .squeeze_dim::<3>(1),
            Mixer::Mean => hidden_states.mean_dim(1).squeeze_dim::<3>(1),
        }
    }
}

/// A zero-padded convolution with one output channel, as one small matmul a kernel row and shifted sums.
///
/// An im2col of 37 layers x 512 tokens x 2048 features would take 3.9 GB; this takes a plane for
/// each column of the kernel.
fn conv_to_one_channel(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<3> {
    let [batch, layers, tokens, width] = x.dims();
    let kernel = weight.dims()[2];
    let pad = kernel / 2;
    let (padded_tokens, padded_width) = (tokens + 2 * pad, width + 2 * pad);
    let x = x
        .pad((pad, pad, pad, pad), 0.0)
        .reshape([batch, layers, padded_tokens * padded_width]);
    // All rows of the kernel shift a column alike: their planes are summed first.
    let planes = (0..kernel).map(|row| {
        let weights = weight
            .clone()
            .narrow(2, row, 1)
            .reshape([layers, kernel])
            .transpose()
            .unsqueeze::<3>(); // [1, kernel, layers]
        let rows = x
            .clone()
            .narrow(2, row * padded_width, tokens * padded_width);
        matmul(weights.expand([batch, kernel, layers]), rows)
    });
    let planes = planes.reduce(|sum, planes| sum + planes);
    let planes = planes.map(|planes| planes.reshape([batch, kernel, tokens, padded_width]));
    let columns = planes.into_iter().flat_map(|planes| {
        (0..kernel).map(move |column| {
            planes
                .clone()
                .narrow(1, column, 1)
                .narrow(3, column, width)
                .reshape([batch, tokens, width])
        })
    });
    let bias = bias.reshape([1, 1, 1]);
    let sum = columns.reduce(|sum, plane| sum + plane);
    // A kernel has at least one element, checked by the config.
    sum.unwrap_or_else(|| Tensor::zeros([batch, tokens, width], &bias.device())) + bias
}
