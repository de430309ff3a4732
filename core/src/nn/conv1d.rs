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

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn products_of_neighbours_are_a_convolution() {
        let (input, output, device) = (2, 3, Device::flex());
        let number = |index: usize| (index * 7 % 11) as f32 - 5.0;
        let weight = |o: usize, i: usize, k: usize| number((o * input + i) * KERNEL + k);
        // [out, 3 * in], as `load` lays it out.
        let rows = (0..output * KERNEL * input).map(|index| {
            let (o, rest) = (index / (KERNEL * input), index % (KERNEL * input));
            weight(o, rest % input, rest / input)
        });
        let rows = TensorData::new(rows.collect::<Vec<f32>>(), [output, KERNEL * input]);
        for (frames, stride) in [(1, 1), (1, 2), (4, 1), (4, 2), (5, 2)] {
            let matrix = Matrix::Dense(Tensor::from_data(rows.clone(), &device));
            let conv = Conv1d {
                linear: Linear::new(matrix, None),
                stride,
            };
            let values: Vec<f32> = (0..frames * input).map(|index| number(index + 3)).collect();
            let x = TensorData::new(values.clone(), [1, frames, input]);
            let ours = conv.forward(Tensor::from_data(x, &device));
            assert_eq!(ours.dims(), [1, frames.div_ceil(stride), output]);
            let naive = (0..frames).step_by(stride).flat_map(|frame| {
                let values = &values;
                (0..output).map(move |o| {
                    let taps = (0..KERNEL).filter(|k| (1..=frames).contains(&(frame + k)));
                    let taps = taps.flat_map(|k| (0..input).map(move |i| (k, i)));
                    taps.map(|(k, i)| weight(o, i, k) * values[(frame + k - 1) * input + i])
                        .sum::<f32>()
                })
            });
            let ours: Vec<f32> = ours.into_data().try_to_vec().unwrap();
            assert_eq!(ours, naive.collect::<Vec<_>>(), "{frames} {stride}");
        }
    }
}
