//! Muon: the momentum of a matrix becomes the nearest orthogonal matrix, so that all directions move alike.
//!
//! Source: K. Jordan's Muon, its Newton-Schulz iterations and Nesterov momentum; the scale of updates of "Muon is
//! Scalable for LLM Training" (arXiv 2502.16982). Parameters of other than two axes are AdamW's.

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::Result;
use crate::training::Parameter;
use crate::training::gradients::host;

/// Coefficients of the quintic iteration.
const QUINTIC: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Makes an update about as large as AdamW's.
const UPDATE_SCALE: f64 = 0.2;
/// Added to a matrix's norm.
const EPS: f32 = 1e-7;

/// Its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Muon {
    /// The learning rate.
    pub rate: f64,
    /// How much of the momentum stays.
    pub momentum: f64,
    /// Decoupled.
    pub weight_decay: f64,
    /// Newton-Schulz iterations.
    pub iterations: usize,
}

impl Default for Muon {
    fn default() -> Self {
        Self {
            rate: 1e-2,
            momentum: 0.95,
            weight_decay: 0.01,
            iterations: 5,
        }
    }
}

impl Muon {
    /// Adds a gradient to the momentum; gives what is made orthogonal.
    pub(super) fn nesterov(&self, velocity: &mut [f32], gradient: &[f32]) -> Vec<f32> {
        let momentum = self.momentum as f32;
        let pairs = velocity.iter_mut().zip(gradient);
        pairs
            .map(|(velocity, &gradient)| {
                *velocity = *velocity * momentum + gradient;
                gradient + momentum * *velocity
            })
            .collect()
    }

    /// Moves matrices along their steps.
    pub(super) async fn update(
        &self,
        matrices: Vec<(&mut Parameter, Vec<f32>)>,
        factor: f64,
        device: &Device,
    ) -> Result<()> {
        let rate = self.rate * factor;
        let keep = (1.0 - rate * self.weight_decay) as f32;
        for (parameter, step) in matrices {
            let (rows, columns) = (parameter.shape[0], parameter.shape[1]);
            let step = Tensor::from_data(TensorData::new(step, [rows, columns]), device);
            let step = host(orthogonal(step, self.iterations)).await?;
            let size = (rate * UPDATE_SCALE * (rows.max(columns) as f64).sqrt()) as f32;
            for (value, step) in parameter.values.iter_mut().zip(step) {
                *value = *value * keep - size * step;
            }
        }
        Ok(())
    }
}

/// A matrix to about the nearest semi-orthogonal one.
fn orthogonal(matrix: Tensor<2>, iterations: usize) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    let tall = rows > columns;
    let x = if tall { matrix.transpose() } else { matrix };
    let norm = x.clone().square().sum().sqrt() + EPS;
    let mut x = x / norm.unsqueeze::<2>();
    let [a, b, c] = QUINTIC;
    for _ in 0..iterations {
        let gram = x.clone().matmul(x.clone().transpose());
        let mixed = gram.clone() * b + gram.clone().matmul(gram) * c;
        x = x.clone() * a + mixed.matmul(x);
    }
    if tall { x.transpose() } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_singular_values_of_a_step_are_about_one() {
        let device = Device::flex();
        for shape in [[3, 5], [5, 3]] {
            let values: Vec<f32> = (0..15)
                .map(|at| ((at * 7 % 15) as f32 - 7.0) / 3.0)
                .collect();
            let matrix = Tensor::from_data(TensorData::new(values, shape), &device);
            let found = orthogonal(matrix, 5);
            let short = if shape[0] < shape[1] {
                found
            } else {
                found.transpose()
            };
            let gram = short.clone().matmul(short.transpose()).into_data();
            let gram: Vec<f32> = gram.try_to_vec().expect("f32");
            // The trace is the sum of the squares of three singular values of 0.7 to 1.2.
            let trace = gram[0] + gram[4] + gram[8];
            assert!((1.4..4.4).contains(&trace), "{gram:?}");
        }
    }
}
