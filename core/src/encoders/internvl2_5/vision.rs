//! The vision tower, InternViT: tiles to vectors of patches.
//!
//! Each tile is a sequence of its own: a class token, then its patches row by row, with learned
//! positions. Every layer scales the outputs of its attention and its MLP; there is no final norm.
//! Source: X2I's `model_internvl/internvl/modeling_intern_vit.py`. Not supported: dropout,
//! stochastic depth, and outputs of layers before the last.

use burn::tensor::Tensor;
use burn::tensor::activation::gelu;

use super::positions;
use crate::config::{InternVitConfig, NormType};
use crate::error::Result;
use crate::nn::{Bias, LayerNorm, Linear, RmsNorm, attention};
use crate::weights::Scope;

/// The vision tower (InternViT): tiles to vectors.
#[derive(Debug)]
pub struct InternVit {
    embeddings: Embeddings,
    layers: Vec<Layer>,
}

impl InternVit {
    /// Reads the tower under `scope` (`vision_model`) for tiles of `grid` by `grid` patches.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &InternVitConfig, grid: usize, scope: &Scope<'_>) -> Result<Self> {
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        let encoder = scope.child("encoder.layers");
        for index in 0..config.num_hidden_layers {
            layers.push(Layer::load(config, &encoder.child(index)).await?);
        }
        Ok(Self {
            embeddings: Embeddings::load(config, grid, &scope.child("embeddings")).await?,
            layers,
        })
    }

    /// Pixels `[tiles, 3, size, size]` -> `[tiles, 1 + patches, hidden]`.
    ///
    /// # Errors
    /// The errors of `before_layer`, which is called before every layer, so that a caller can stop.
    pub async fn forward(
        &self,
        pixel_values: Tensor<4>,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>> {
        let mut x = self.embed(pixel_values);
        for layer in 0..self.layers() {
            before_layer().await?;
            x = self.layer(layer, x);
        }
        Ok(x)
    }

    /// Layers of the tower.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Class token and patches with their positions: `[tiles, 3, size, size]` ->
    /// `[tiles, 1 + patches, hidden]`.
    pub fn embed(&self, pixel_values: Tensor<4>) -> Tensor<3> {
        self.embeddings.forward(pixel_values)
    }

    /// One layer: `[tiles, 1 + patches, hidden]`, same shape out.
    pub fn layer(&self, index: usize, x: Tensor<3>) -> Tensor<3> {
        self.layers[index].forward(x)
    }
}

#[derive(Debug)]
struct Embeddings {
    class_embedding: Tensor<3>, // [1, 1, hidden]
    /// A convolution without overlap, as a matrix.
    patch_embedding: Linear,
    position_embedding: Tensor<3>, // [1, 1 + patches, hidden]
    patch_size: usize,
}

impl Embeddings {
    async fn load(config: &InternVitConfig, grid: usize, scope: &Scope<'_>) -> Result<Self> {
        let (width, patch_size) = (config.hidden_size, config.patch_size);
        let pixels = config.num_channels * patch_size.pow(2);
        let patches = scope.child("patch_embedding");
        let side = config.image_size / patch_size;
        let positions = [1, 1 + side * side, width];
        let positions = scope.tensor("position_embedding", positions).await?;
        Ok(Self {
            class_embedding: scope.tensor("class_embedding", [1, 1, width]).await?,
            patch_embedding: Linear::load(&patches, pixels, width, Bias::Yes).await?,
            position_embedding: positions::resize(positions, side, grid),
            patch_size,
        })
    }

    fn forward(&self, pixel_values: Tensor<4>) -> Tensor<3> {
        let tiles = pixel_values.dims()[0];
        let patches = self
            .patch_embedding
            .forward(cut_patches(pixel_values, self.patch_size));
        let class = self.class_embedding.clone().repeat_dim(0, tiles);
        Tensor::cat(vec![class, patches], 1) + self.position_embedding.clone()
    }
}

/// `[tiles, channels, size, size]` -> `[tiles, patches, channels * patch²]`, patches row by row.
fn cut_patches(pixel_values: Tensor<4>, patch: usize) -> Tensor<3> {
    let [tiles, channels, height, width] = pixel_values.dims();
    let (rows, columns) = (height / patch, width / patch);
    let patches = pixel_values
        .reshape([tiles * channels * rows, patch, columns, patch])
        .swap_dims(1, 2); // [tiles * channels * rows, columns, patch, patch]
    let patches = patches
        .reshape([tiles, channels, rows * columns, patch * patch])
        .swap_dims(1, 2); // [tiles, rows * columns, channels, patch * patch]
    patches.reshape([tiles, rows * columns, channels * patch * patch])
}

#[derive(Debug)]
struct Layer {
    norm1: Norm,
    attn: Attention,
    ls1: Tensor<1>,
    norm2: Norm,
    mlp: [Linear; 2],
    ls2: Tensor<1>,
}

impl Layer {
    async fn load(config: &InternVitConfig, scope: &Scope<'_>) -> Result<Self> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let mlp = scope.child("mlp");
        Ok(Self {
            norm1: Norm::load(config, &scope.child("norm1")).await?,
            attn: Attention::load(config, &scope.child("attn")).await?,
            ls1: scope.tensor("ls1", [width]).await?,
            norm2: Norm::load(config, &scope.child("norm2")).await?,
            mlp: [
                Linear::load(&mlp.child("fc1"), width, inner, Bias::Yes).await?,
                Linear::load(&mlp.child("fc2"), inner, width, Bias::Yes).await?,
            ],
            ls2: scope.tensor("ls2", [width]).await?,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let mixed = self.attn.forward(self.norm1.forward(x.clone()));
        let x = x + mixed * self.ls1.clone().unsqueeze();
        let [fc1, fc2] = &self.mlp;
        let bent = fc2.forward(gelu(fc1.forward(self.norm2.forward(x.clone()))));
        x + bent * self.ls2.clone().unsqueeze()
    }
}

/// The norm that the config names.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "two a layer, of a kilobyte of handles each"
)]
enum Norm {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

impl Norm {
    async fn load(config: &InternVitConfig, scope: &Scope<'_>) -> Result<Self> {
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        Ok(match config.norm_type {
            NormType::LayerNorm => Self::Layer(LayerNorm::load(scope, width, eps).await?),
            NormType::RmsNorm => Self::Rms(RmsNorm::load(scope, "weight", width, eps).await?),
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Layer(norm) => norm.forward(x),
            Self::Rms(norm) => norm.forward(x),
        }
    }
}

#[derive(Debug)]
struct Attention {
    qkv: Linear,
    /// Norms of q and k over all heads together, where the config asks for them.
    qk_norm: Option<[RmsNorm; 2]>,
    proj: Linear,
    heads: usize,
}

impl Attention {
    async fn load(config: &InternVitConfig, scope: &Scope<'_>) -> Result<Self> {
        let (width, eps) = (config.hidden_size, config.layer_norm_eps);
        let bias = match config.qkv_bias {
            true => Bias::Yes,
            false => Bias::No,
        };
        let norm = async |name| RmsNorm::load(&scope.child(name), "weight", width, eps).await;
        Ok(Self {
            qkv: Linear::load(&scope.child("qkv"), width, 3 * width, bias).await?,
            qk_norm: match config.qk_normalization {
                true => Some([norm("q_norm").await?, norm("k_norm").await?]),
                false => None,
            },
            proj: Linear::load(&scope.child("proj"), width, width, Bias::Yes).await?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [tiles, tokens, width] = x.dims();
        let head_dim = width / self.heads;
        let qkv = self.qkv.forward(x);
        let [mut q, mut k, v] = [0, 1, 2].map(|i| qkv.clone().narrow(2, i * width, width));
        if let Some([q_norm, k_norm]) = &self.qk_norm {
            (q, k) = (q_norm.forward(q), k_norm.forward(k));
        }
        let [q, k, v] = [q, k, v].map(|x| {
            x.reshape([tiles, tokens, self.heads, head_dim])
                .swap_dims(1, 2) // [tiles, heads, tokens, head_dim]
        });
        let mixed = attention(q, k, v, None, 1.0 / (head_dim as f32).sqrt());
        self.proj
            .forward(mixed.swap_dims(1, 2).reshape([tiles, tokens, width]))
    }
}
