//! AlignNet's config (X2I `utils/proj.py`, ComfyUI's `config`).
//!
//! The published `.bin` files come without a config. Every number shows in the shapes of their
//! tensors, so that the loader uses [`AlignNetConfig::from_shapes`]; a `config.json` adds
//! `norm_eps` alone.

use serde::{Deserialize, Serialize};

use super::checks::{check, check_eps, from_value};
use crate::error::{Error, Result};

/// How the hidden states of all layers are mixed to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// A 2-D convolution over the (token, feature) plane, layers as channels.
    Conv {
        /// Its kernel's side.
        kernel: usize,
    },
    /// A learned weight a layer, then the mean.
    Scale,
    /// The plain mean.
    Mean,
}

/// The T5 stack that may run over every layer's states first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct T5StackConfig {
    /// Blocks.
    pub num_layers: usize,
    /// Heads.
    pub num_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width inside the gated MLP.
    pub feed_forward_size: usize,
    /// Buckets of the relative position bias.
    pub num_buckets: usize,
}

/// Sizes of an AlignNet.
#[derive(Debug, Clone, PartialEq)]
pub struct AlignNetConfig {
    /// Hidden states that it mixes: the LLM's layers and the embedding.
    pub in_channels: usize,
    /// Width of the LLM.
    pub input_dim: usize,
    /// Width of the pooled vector (`output_dim0`, CLIP's place).
    pub pooled_dim: usize,
    /// Width of a text token (`output_dim1`, T5's place).
    pub text_dim: usize,
    /// Epsilon of the LayerNorm.
    pub norm_eps: f64,
    /// How layers are mixed.
    pub mix: Mix,
    /// The optional T5 stack.
    pub t5: Option<T5StackConfig>,
}

/// The config that X2I writes beside its weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Published {
    in_channels: usize,
    #[serde(default = "default_eps")]
    norm_eps: f64,
    /// Whether the layers are mixed by a learned weight each; that comes before `use_cnn`.
    #[serde(default)]
    use_scale: Option<bool>,
    /// Whether they are mixed by a convolution.
    #[serde(default)]
    use_cnn: Option<bool>,
    /// Whether a T5 stack runs first.
    #[serde(default)]
    use_t5: Option<bool>,
    #[serde(default)]
    kernel_size: Option<usize>,
    #[serde(default)]
    input_dim: Option<usize>,
    #[serde(default)]
    output_dim0: Option<usize>,
    #[serde(default)]
    output_dim1: Option<usize>,
    /// Of the T5 stack, as the next two.
    #[serde(default)]
    num_layers: Option<usize>,
    #[serde(default)]
    num_heads: Option<usize>,
    #[serde(default)]
    head_dim: Option<usize>,
}

fn default_eps() -> f64 {
    1e-6
}

impl AlignNetConfig {
    /// Reads every number from the tensors' shapes; `shape` gives that of a named tensor.
    ///
    /// `json` is a published `config.json`, where there is one: it holds `norm_eps`, and
    /// `in_channels` for the plain mean, which has no tensor of that size.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::Config`] when this is no AlignNet.
    pub fn from_shapes(
        file: &str,
        json: Option<&serde_json::Value>,
        shape: impl Fn(&str) -> Option<Vec<usize>>,
    ) -> Result<Self> {
        let published: Option<Published> = match json {
            Some(json) => Some(from_value(file, json.clone())?),
            None => None,
        };
        let (text_dim, input_dim) = matrix(file, "mlp.projector.0.weight", &shape)?;
        let (pooled_dim, _) = matrix(file, "mlp.fc.1.weight", &shape)?;
        let (mix, in_channels) = mix_from_shapes(file, published, &shape)?;
        let config = Self {
            in_channels,
            input_dim,
            pooled_dim,
            text_dim,
            norm_eps: published.map_or(default_eps(), |published| published.norm_eps),
            mix,
            t5: T5StackConfig::from_shapes(file, "t5stack", &shape)?,
        };
        config.validate(file)?;
        if let Some(published) = published {
            config.check_published(file, published)?;
        }
        Ok(config)
    }

    /// The config that X2I writes beside its weights.
    pub fn published(&self) -> serde_json::Value {
        let kernel = match self.mix {
            Mix::Conv { kernel } => Some(kernel),
            Mix::Scale | Mix::Mean => None,
        };
        serde_json::json!({
            "in_channels": self.in_channels,
            "kernel_size": kernel.unwrap_or(5),
            "input_dim": self.input_dim,
            "output_dim0": self.pooled_dim,
            "output_dim1": self.text_dim,
            "norm_eps": self.norm_eps,
            "use_t5": self.t5.is_some(),
            "use_scale": matches!(self.mix, Mix::Scale),
            "use_cnn": kernel.is_some(),
        })
    }

    /// Fails where the config beside the tensors says other numbers than they have: it is another
    /// AlignNet's, or they are.
    fn check_published(&self, file: &str, said: Published) -> Result<()> {
        let stack = self.t5.filter(|_| said.use_t5 != Some(false));
        check(
            file,
            said.use_t5.is_none_or(|said| said == self.t5.is_some()),
            || {
                let found = if self.t5.is_some() {
                    "holds"
                } else {
                    "holds no"
                };
                let said = said.use_t5.unwrap_or_default();
                format!(
                    "use_t5 is {said}, but the file {found} `t5stack.*`; the config is of another AlignNet"
                )
            },
        )?;
        let kernel = match self.mix {
            Mix::Conv { kernel } => Some(kernel),
            Mix::Scale | Mix::Mean => None,
        };
        for (key, said, found) in [
            (
                "in_channels",
                Some(said.in_channels),
                Some(self.in_channels),
            ),
            ("input_dim", said.input_dim, Some(self.input_dim)),
            ("output_dim0", said.output_dim0, Some(self.pooled_dim)),
            ("output_dim1", said.output_dim1, Some(self.text_dim)),
            ("kernel_size", said.kernel_size, kernel),
            ("num_layers", said.num_layers, stack.map(|t5| t5.num_layers)),
            ("num_heads", said.num_heads, stack.map(|t5| t5.num_heads)),
            ("head_dim", said.head_dim, stack.map(|t5| t5.head_dim)),
        ] {
            let (Some(said), Some(found)) = (said, found) else {
                continue;
            };
            check(file, said == found, || {
                format!(
                    "{key} is {said}, its tensors have {found}; the config is of another AlignNet"
                )
            })?;
        }
        Ok(())
    }

    fn validate(&self, file: &str) -> Result<()> {
        let sizes = [
            self.in_channels,
            self.input_dim,
            self.pooled_dim,
            self.text_dim,
        ];
        check(file, sizes.iter().all(|&size| size > 0), || {
            "a size is 0".into()
        })?;
        check_eps(file, "norm_eps", self.norm_eps)
    }
}

/// Rows and columns of a matrix.
fn matrix(
    file: &str,
    name: &str,
    shape: &impl Fn(&str) -> Option<Vec<usize>>,
) -> Result<(usize, usize)> {
    match shape(name).as_deref() {
        Some(&[rows, columns]) => Ok((rows, columns)),
        Some(_) => Err(Error::config(
            file,
            format!("tensor `{name}` is not a matrix"),
        )),
        None => Err(missing(file, name)),
    }
}

fn missing(file: &str, name: &str) -> Error {
    Error::MissingTensor {
        file: file.into(),
        name: name.into(),
    }
}

/// A tensor that the config speaks of must be there: without it another AlignNet would be left.
fn check_mix(file: &str, published: Option<Published>, conv: bool, scale: bool) -> Result<()> {
    let Some(Published {
        use_scale, use_cnn, ..
    }) = published
    else {
        return Ok(());
    };
    let scaled = use_scale == Some(true);
    if scaled && !scale {
        return Err(missing(file, "cha_scale"));
    }
    if use_cnn == Some(true) && !scaled && !conv {
        return Err(missing(file, "conv.weight"));
    }
    check(file, use_cnn != Some(false) || !conv, || {
        "use_cnn is false, but tensor `conv.weight` is there; the config is of another AlignNet"
            .into()
    })?;
    check(file, use_scale != Some(false) || !scale, || {
        "use_scale is false, but tensor `cha_scale` is there; the config is of another AlignNet"
            .into()
    })
}

/// How layers are mixed, and how many hidden states: a convolution's or a scale's tensor says both,
/// the plain mean has none.
fn mix_from_shapes(
    file: &str,
    published: Option<Published>,
    shape: &impl Fn(&str) -> Option<Vec<usize>>,
) -> Result<(Mix, usize)> {
    let (conv, scale) = (shape("conv.weight"), shape("cha_scale"));
    check_mix(file, published, conv.is_some(), scale.is_some())?;
    if conv.is_none() && shape("conv.bias").is_some() {
        return Err(missing(file, "conv.weight"));
    }
    match (conv.as_deref(), scale.as_deref()) {
        (Some(&[1, channels, kernel, width]), _) if kernel == width && kernel % 2 == 1 => {
            Ok((Mix::Conv { kernel }, channels))
        }
        (None, Some(&[1, channels, 1, 1])) => Ok((Mix::Scale, channels)),
        (None, None) => match published {
            Some(published) => Ok((Mix::Mean, published.in_channels)),
            None => Err(Error::config(
                file,
                "a mean-mix AlignNet needs a config.json with in_channels",
            )),
        },
        _ => Err(Error::config(
            file,
            "conv.weight or cha_scale has a shape that no AlignNet has",
        )),
    }
}

impl T5StackConfig {
    /// The sizes of a stack whose tensors begin with `prefix`; none where there are no such tensors.
    ///
    /// # Errors
    /// [`Error::Config`] when its tensors can't be a stack's.
    pub(super) fn from_shapes(
        file: &str,
        prefix: &str,
        shape: &impl Fn(&str) -> Option<Vec<usize>>,
    ) -> Result<Option<Self>> {
        let named = |block: usize, name: &str| shape(&format!("{prefix}.block.{block}.{name}"));
        let bias = named(0, "layer.0.SelfAttention.relative_attention_bias.weight");
        let Some(&[num_buckets, num_heads]) = bias.as_deref() else {
            return Ok(None);
        };
        let q = |block| named(block, "layer.0.SelfAttention.q.weight");
        let wide = |shape: Option<Vec<usize>>| shape.and_then(|shape| shape.first().copied());
        let (Some(inner), Some(feed_forward_size)) = (
            wide(q(0)),
            wide(named(0, "layer.1.DenseReluDense.wi_0.weight")),
        ) else {
            return Err(Error::config(
                file,
                "the T5 stack's first block is incomplete",
            ));
        };
        check(file, num_heads > 0 && inner % num_heads == 0, || {
            format!("{inner} T5 channels can't be split into {num_heads} heads")
        })?;
        Ok(Some(Self {
            num_layers: (0..).take_while(|&block| q(block).is_some()).count(),
            num_heads,
            head_dim: inner / num_heads,
            feed_forward_size,
            num_buckets,
        }))
    }
}
