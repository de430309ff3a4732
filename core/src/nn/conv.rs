//! 2-D convolution.

use burn::tensor::Tensor;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

use crate::error::Result;
use crate::weights::Scope;

/// A convolution with a square kernel.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor<4>, // [out, in, kernel, kernel]
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Reads `weight` `[output, input, kernel, kernel]` and `bias`; stride 1, same size out.
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
            stride: 1,
            padding: kernel / 2,
        })
    }

    /// The same with another stride and padding.
    pub fn with_stride(self, stride: usize, padding: usize) -> Self {
        Self {
            stride,
            padding,
            ..self
        }
    }

    /// `[batch, input, height, width]` -> `[batch, output, ..]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1, 1], 1);
        conv2d(x, self.weight.clone(), Some(self.bias.clone()), options)
    }
}
