//! Convolution over time, as a matrix product of neighbouring frames.

use burn::tensor::Tensor;

use crate::error::Result;
use crate::nn::Linear;
use crate::weights::{Matrix, Scope};

/// Frames that one output frame sees.
const KERNEL: usize = 3;

/// A convolution of three frames around every `stride`th one; zeros outside.
#[derive(Debug, Clone)]
pub struct Conv1d {
    linear: Linear, // [out, 3 * in]: the frames side by side
    stride: usize,
}

impl Conv1d {
    /// Reads `weight` `[output, input, 3]` and `bias`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(
        scope: &Scope<'_>,
        input: usize,
        output: usize,
        stride: usize,
    ) -> Result<Self> {
        let weight: Tensor<3> = scope.tensor("weight", [output, input, KERNEL]).await?;
        let weight = weight.swap_dims(1, 2).reshape([output, KERNEL * input]);
        let bias = scope.tensor("bias", [output]).await?;
        Ok(Self {
            linear: Linear::new(Matrix::Dense(weight), Some(bias)),
            stride,
        })
    }

    /// `[batch, frames, input]` -> `[batch, ceil(frames / stride), output]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, frames, width] = x.dims();
        let outputs = frames.div_ceil(self.stride);
        let span = outputs * self.stride;
        let zeros = |count| Tensor::<3>::zeros([batch, count, width], &x.device());
        let behind = zeros(span + KERNEL - 1 - frames - 1);
        let padded = Tensor::cat(vec![zeros(1), x, behind], 1); // [batch, span + 2, input]
        let neighbours = (0..KERNEL).map(|offset| {
            padded
                .clone()
                .narrow(1, offset, span)
                .reshape([batch, outputs, self.stride, width])
                .narrow(2, 0, 1)
                .reshape([batch, outputs, width])
        });
        self.linear.forward(Tensor::cat(neighbours.collect(), 2))
    }
}
