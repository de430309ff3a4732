//! LayerNorm, composed of plain operations; RMSNorm and GroupNorm, which are kernels.

use burn::tensor::Tensor;
use x2i_shaders::{Activation, group_moments, group_normalize, rms_norm};

use crate::error::Result;
use crate::weights::Scope;

/// LayerNorm over the last axis without weights.
fn layer_norm<const D: usize>(x: Tensor<D>, eps: f64) -> Tensor<D> {
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    centred * (variance + eps).sqrt().recip()
}

/// LayerNorm with `weight` and `bias`.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
}

impl LayerNorm {
    /// Reads `weight` and `bias` `[width]`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(scope: &Scope<'_>, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.tensor("weight", [width]).await?,
            bias: scope.tensor("bias", [width]).await?,
            eps,
        })
    }

    /// Normalizes the last axis.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.eps) * self.weight.clone().unsqueeze() + self.bias.clone().unsqueeze()
    }
}

/// `x / sqrt(mean(x²) + eps) * weight` over the last axis.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Tensor<1>,
    eps: f64,
}

impl RmsNorm {
    /// Reads the tensor `name` `[width]`: `weight` in Hugging Face's files, `scale` in BFL's.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(scope: &Scope<'_>, name: &str, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.tensor(name, [width]).await?,
            eps,
        })
    }

    /// Normalizes the last axis.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        rms_norm(x, self.weight.clone(), self.eps as f32)
    }
}

/// GroupNorm over groups of channels and all pixels.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Reads `weight` and `bias` `[channels]`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(scope: &Scope<'_>, channels: usize, groups: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.tensor("weight", [channels]).await?,
            bias: scope.tensor("bias", [channels]).await?,
            groups,
            eps,
        })
    }

    /// Mean and variance of each group of `[batch, channels, height, width]`: `[batch, groups, 2]`.
    pub fn moments(&self, x: &Tensor<4>) -> Tensor<3> {
        group_moments(x.clone(), self.groups)
    }

    /// Normalizes by these moments and activates `[batch, channels, height, width]`; same shape out.
    pub fn apply(&self, x: Tensor<4>, moments: Tensor<3>, activation: Activation) -> Tensor<4> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        group_normalize(x, moments, weight, bias, self.eps as f32, activation)
    }

    /// Normalizes by its own moments and activates `[batch, channels, height, width]`; same shape out.
    pub fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        let moments = self.moments(&x);
        self.apply(x, moments, activation)
    }
}
