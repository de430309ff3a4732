//! Gradients by name on the host: summed over micro-batches, averaged, clipped.

use std::collections::BTreeMap;

use burn::tensor::{Gradients as Tape, Tensor};

use crate::error::{Error, Result};
use crate::weights::Leaves;

/// PyTorch's `clip_grad_norm_` adds it to the norm.
const CLIP_EPS: f64 = 1e-6;

/// The sum of the gradients of some micro-batches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gradients {
    sums: BTreeMap<String, Vec<f32>>,
}

impl Gradients {
    /// Adds what a tape has for these leaves.
    ///
    /// # Errors
    /// [`Error::Device`] when the device failed.
    pub(super) async fn collect(&mut self, leaves: &Leaves, tape: &mut Tape) -> Result<()> {
        for (name, shape) in leaves.shapes() {
            let found = match shape.len() {
                1 => values(leaves.get::<1>(name), tape).await?,
                2 => values(leaves.get::<2>(name), tape).await?,
                3 => values(leaves.get::<3>(name), tape).await?,
                _ => values(leaves.get::<4>(name), tape).await?,
            };
            if let Some(found) = found {
                self.add(name, found);
            }
        }
        Ok(())
    }

    /// Adds to the gradient of a parameter.
    ///
    /// # Panics
    /// For another number of values than before.
    pub fn add(&mut self, name: &str, values: Vec<f32>) {
        match self.sums.get_mut(name) {
            Some(sum) => {
                assert_eq!(sum.len(), values.len(), "a gradient keeps its size");
                for (sum, value) in sum.iter_mut().zip(values) {
                    *sum += value;
                }
            }
            None => {
                self.sums.insert(name.to_owned(), values);
            }
        }
    }

    /// Adds `share` times other gradients.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    pub fn add_share(&mut self, mut others: Self, share: f32) {
        others.scale(share);
        for (name, values) in others.sums {
            self.add(&name, values);
        }
    }

    /// The gradient of a parameter; `None` where nothing depends on it.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.sums.get(name).map(Vec::as_slice)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.sums
            .iter()
            .map(|(name, sum)| (name.as_str(), sum.as_slice()))
    }

    /// The same, to change: what an all-reduce works on.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut [f32])> {
        let sums = self.sums.iter_mut();
        sums.map(|(name, sum)| (name.as_str(), sum.as_mut_slice()))
    }

    /// Multiplies all: `1 / n` makes the mean of `n` micro-batches of their sum.
    pub fn scale(&mut self, factor: f32) {
        for sum in self.sums.values_mut() {
            sum.iter_mut().for_each(|value| *value *= factor);
        }
    }

    /// The L2 norm over all parameters together.
    pub fn norm(&self) -> f64 {
        let squares = self.sums.values().flatten();
        let sum: f64 = squares
            .map(|&value| f64::from(value) * f64::from(value))
            .sum();
        sum.sqrt()
    }

    /// Shortens all together to a norm of about `most`, as PyTorch's `clip_grad_norm_`; gives the norm before.
    pub fn clip(&mut self, most: f64) -> f64 {
        let norm = self.norm();
        let factor = most / (norm + CLIP_EPS);
        if factor < 1.0 {
            self.scale(factor as f32);
        }
        norm
    }

    /// True when every number is finite.
    pub fn is_finite(&self) -> bool {
        self.sums.values().flatten().all(|value| value.is_finite())
    }
}

async fn values<const D: usize>(
    leaf: Option<Tensor<D>>,
    tape: &mut Tape,
) -> Result<Option<Vec<f32>>> {
    let Some(gradient) = leaf.and_then(|leaf| leaf.grad_remove(tape)) else {
        return Ok(None);
    };
    host(gradient).await.map(Some)
}

/// A tensor's numbers on the host.
pub(super) async fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.into_data_async().await?;
    data.try_to_vec()
        .map_err(|error| Error::device("(running)", format!("{error:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_is_over_all_parameters_together() {
        let mut gradients = Gradients::default();
        gradients.add("a", vec![3.0]);
        gradients.add("b", vec![2.0, 0.0]);
        gradients.add("b", vec![2.0, 0.0]);
        assert_eq!(gradients.clip(10.0), 5.0);
        assert_eq!(gradients.get("b"), Some(&[4.0, 0.0][..]));
        assert_eq!(gradients.clip(1.0), 5.0);
        let norm = gradients.norm();
        assert!((norm - 5.0 / 5.000_001).abs() < 1e-6, "{norm}");
        gradients.scale(0.0);
        assert_eq!(gradients.clip(1.0), 0.0);
        assert!(gradients.is_finite());
    }
}
