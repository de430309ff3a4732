//! The tensors that learn: f32 masters on the host.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::weights::{Leaves, Weights};

/// One tensor that learns.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its axes.
    pub shape: Vec<usize>,
    /// Its numbers, row by row.
    pub values: Vec<f32>,
}

/// Tensors that learn, by our names, in one order everywhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters {
    all: BTreeMap<String, Parameter>,
}

impl Parameters {
    /// All tensors of `weights` whose names `learns` holds for, widened to f32.
    ///
    /// # Errors
    /// What the source says; [`Error::Format`] for a tensor with a number that is not finite.
    pub async fn read(weights: &Weights, learns: impl Fn(&str) -> bool) -> Result<Self> {
        let mut all = Self::default();
        for name in weights.names().filter(|name| learns(name)) {
            let tensor = weights.read(name).await?;
            let (shape, values) = (tensor.shape.clone(), tensor.to_f32());
            if !values.iter().all(|value| value.is_finite()) {
                let reason = format!("tensor `{name}` holds a number that is not finite");
                return Err(Error::format(weights.file_of(name), reason));
            }
            all.insert(name, shape, values);
        }
        Ok(all)
    }

    /// Adds a tensor, or replaces the one of this name.
    ///
    /// # Panics
    /// When the values do not fill the shape.
    pub fn insert(&mut self, name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) {
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "the values fill the shape"
        );
        self.all.insert(name.into(), Parameter { shape, values });
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.all.get(name)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.all
            .iter()
            .map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// The same, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Parameter)> {
        let all = self.all.iter_mut();
        all.map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// How many numbers learn.
    pub fn numbers(&self) -> usize {
        self.all
            .values()
            .map(|parameter| parameter.values.len())
            .sum()
    }

    /// True without a tensor.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Leaves of these values on `device` that record gradients: what a model that learns is loaded with.
    ///
    /// # Errors
    /// [`Error::Format`] for a tensor of more than four axes.
    pub fn leaves(&self, device: &Device) -> Result<Leaves> {
        self.on_device(device, true)
    }

    /// The same without gradients: what a model of these values is loaded with for validation or samples.
    ///
    /// # Errors
    /// As [`leaves`](Self::leaves).
    pub fn constants(&self, device: &Device) -> Result<Leaves> {
        self.on_device(device, false)
    }

    fn on_device(&self, device: &Device, learn: bool) -> Result<Leaves> {
        let mut leaves = Leaves::default();
        for (name, Parameter { shape, values }) in &self.all {
            let data = TensorData::new(values.clone(), shape.clone());
            match shape.len() {
                1 => leaves.insert(name, leaf::<1>(data, device, learn)),
                2 => leaves.insert(name, leaf::<2>(data, device, learn)),
                3 => leaves.insert(name, leaf::<3>(data, device, learn)),
                4 => leaves.insert(name, leaf::<4>(data, device, learn)),
                axes => {
                    let reason = format!("has {axes} axes; at most 4 can be trained");
                    return Err(Error::format(format!("parameter `{name}`"), reason));
                }
            }
        }
        Ok(leaves)
    }
}

fn leaf<const D: usize>(data: TensorData, device: &Device, learn: bool) -> Tensor<D> {
    let tensor = Tensor::from_data(data, device);
    match learn {
        true => tensor.autodiff().require_grad(),
        false => tensor,
    }
}
