//! 2-D convolution.

use burn::tensor::Tensor;
use x2i_shaders::{conv2d, halving_conv2d, upsample_conv2d};

use crate::error::Result;
use crate::weights::Scope;

/// A convolution with a square kernel.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor<4>, // [out, in, kernel, kernel]
    bias: Tensor<1>,
}

impl Conv2d {
    /// Reads `weight` `[output, input, kernel, kernel]` and `bias`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(
        scope: &Scope<'_>,
        input: usize,
        output: usize,
        kernel: usize,
    ) -> Result<Self> {
        Ok(Self {
            weight: scope
                .tensor("weight", [output, input, kernel, kernel])
                .await?,
            bias: scope.tensor("bias", [output]).await?,
        })
    }

    /// `[batch, input, height, width]` -> `[batch, output, height, width]`, zeros outside.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(x, self.weight.clone(), self.bias.clone())
    }

    /// After each pixel became 2 x 2: `[batch, output, 2 height, 2 width]`.
    pub fn forward_upsampled(&self, x: Tensor<4>) -> Tensor<4> {
        upsample_conv2d(x, self.weight.clone(), self.bias.clone())
    }

    /// Every second place, with so many zeros around the image:
    /// `[batch, output, (height + 2 zeros - kernel) / 2 + 1, ..]`.
    pub fn forward_halved(&self, x: Tensor<4>, zeros: usize) -> Tensor<4> {
        halving_conv2d(x, self.weight.clone(), self.bias.clone(), [zeros; 2])
    }

    /// Every second place, zeros beyond the right and the bottom edge only: half the size, up.
    pub fn forward_downsampled(&self, x: Tensor<4>) -> Tensor<4> {
        halving_conv2d(x, self.weight.clone(), self.bias.clone(), [0, 1])
    }
}
