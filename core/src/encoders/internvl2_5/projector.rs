//! The projector from the vision tower to the decoder: neighbouring patches become one token.
//!
//! Source: `pixel_shuffle` (version 2) and `mlp1` of X2I's `modeling_internvl_chat.py`. Not
//! supported: version 1, which transposes the image.

use burn::tensor::Tensor;
use burn::tensor::activation::gelu;

use crate::config::InternVl2_5Config;
use crate::error::Result;
use crate::nn::{Bias, LayerNorm, Linear};
use crate::weights::Scope;

/// Epsilon of `mlp1.0`, which is `nn.LayerNorm`'s own.
const EPS: f64 = 1e-5;

/// The projector (`mlp1`): the tower's vectors to tokens of the decoder's width.
#[derive(Debug)]
pub struct Projector {
    /// `mlp1.0`
    norm: LayerNorm,
    /// `mlp1.1` and `mlp1.3`, a GELU between them
    mlp: [Linear; 2],
    /// Patches of a side that become one token.
    merge: usize,
}

impl Projector {
    /// Reads the projector under `scope` (`mlp1`).
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &InternVl2_5Config, scope: &Scope<'_>) -> Result<Self> {
        let merge = config.merge();
        let merged = config.vision_config.hidden_size * merge * merge;
        let width = config.llm_config.decoder.hidden_size;
        Ok(Self {
            norm: LayerNorm::load(&scope.child(0), merged, EPS).await?,
            mlp: [
                Linear::load(&scope.child(1), merged, width, Bias::Yes).await?,
                Linear::load(&scope.child(3), width, width, Bias::Yes).await?,
            ],
            merge,
        })
    }

    /// The tower's `[tiles, 1 + grid², width]`, whose class token is dropped ->
    /// `[tiles, (grid / merge)², merge² * width]`.
    pub fn pixel_shuffle(&self, x: Tensor<3>) -> Tensor<3> {
        let [tiles, tokens, width] = x.dims();
        let grid = (tokens - 1).isqrt();
        let (merge, side) = (self.merge, grid / self.merge);
        let neighbours = x
            .narrow(1, 1, tokens - 1)
            .reshape([tiles * side, merge, side, merge * width])
            .swap_dims(1, 2); // [tiles * side, side, merge, merge * width]
        neighbours.reshape([tiles, side * side, merge * merge * width])
    }

    /// Merged patches `[tiles, tokens, merge² * width]` -> `[tiles, tokens, hidden]`.
    pub fn project(&self, x: Tensor<3>) -> Tensor<3> {
        let [first, second] = &self.mlp;
        second.forward(gelu(first.forward(self.norm.forward(x))))
    }
}
