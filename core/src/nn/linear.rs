//! `Linear`, dense or quantized, and the token embedding: one type each, so that a model needs no
//! second version for quantized weights.

use std::ops::Range;

use burn::tensor::{FloatDType, Int, Tensor};
use x2i_shaders::{
    Activations, Gated, InputBits, Weight, gated_residual, gelu_tanh, gelu_tanh_after, linear,
    linear_rounded, product, product_gated, product_gelu, product_gelu_after, qmatmul,
};

use crate::error::Result;
use crate::lora::LayerChange;
use crate::weights::{Matrix, Scope};

/// Whether a layer's checkpoint holds a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// `weight` and `bias`.
    Yes,
    /// `weight` alone.
    No,
}

/// `y = x Wᵀ + b` over the last axis, and a LoRA's change where there is one.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Matrix, // [out, in]
    bias: Option<Tensor<1>>,
    change: Option<Box<LayerChange>>,
    /// What the CPU rounds the inputs of a dense weight to; a quantized one knows itself.
    input_bits: InputBits,
}

impl Linear {
    /// Reads `weight` `[output, input]` and `bias` `[output]` under `scope`, and what LoRAs add there.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(scope: &Scope<'_>, input: usize, output: usize, bias: Bias) -> Result<Self> {
        Self::load_rows(scope, [output, input], 0..output, bias).await
    }

    /// The layer that gives some `rows` of the outputs of one whose weight has `shape` `[output, input]`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    ///
    /// # Panics
    /// For rows that the weight does not have.
    pub async fn load_rows(
        scope: &Scope<'_>,
        shape: [usize; 2],
        rows: Range<usize>,
        bias: Bias,
    ) -> Result<Self> {
        let output = shape[0];
        let weight = scope.matrix_rows("weight", shape, rows.clone()).await?;
        let bias = match bias {
            Bias::Yes => Some(scope.vector_rows("bias", output, rows.clone()).await?),
            Bias::No => None,
        };
        let change = scope.change().await?;
        let change = match rows.len() == output {
            true => change,
            false => change.map(|change| change.rows(rows)),
        };
        Ok(Self {
            weight,
            bias,
            change: change.map(Box::new),
            input_bits: scope.input_bits(),
        })
    }

    /// A layer of given tensors: `weight` `[output, input]`, `bias` `[output]`. A dense product is in f32.
    pub fn new(weight: Matrix, bias: Option<Tensor<1>>) -> Self {
        Self {
            weight,
            bias,
            change: None,
            input_bits: InputBits::Sixteen,
        }
    }

    /// `[.., input]` -> `[.., output]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut shape = x.dims();
        let input = shape[D - 1];
        let rows = shape[..D - 1].iter().product::<usize>();
        let x = x.reshape([rows, input]);
        let bias = self.bias.clone();
        let y = match &self.change {
            Some(change) => change.apply(x, bias, |x, bias| self.product(x, bias)),
            None => self.product(x, bias),
        }; // [rows, output]
        shape[D - 1] = y.dims()[1];
        y.reshape(shape)
    }

    /// [`forward`](Self::forward) of what another layer gave for this one.
    pub fn forward_activations<const D: usize>(&self, x: Activations<D>) -> Tensor<D> {
        match self.alone() {
            Some(weight) => product(x, weight, self.bias.clone()),
            None => self.forward(x.to_f32()),
        }
    }

    /// GELU of [`forward`](Self::forward), for another layer.
    pub fn forward_gelu(&self, x: Activations<3>) -> Activations<3> {
        match (self.alone(), &self.bias) {
            (Some(weight), Some(bias)) => product_gelu(x, weight, bias.clone()),
            _ => Activations::new(gelu_tanh(self.forward(x.to_f32()))),
        }
    }

    /// The channels of `left`, then those of [`forward_gelu`](Self::forward_gelu).
    pub fn forward_gelu_after(&self, left: Activations<3>, x: Activations<3>) -> Activations<3> {
        match (self.alone(), &self.bias) {
            (Some(weight), Some(bias)) => product_gelu_after(left, x, weight, bias.clone()),
            _ => Activations::new(gelu_tanh_after(left.to_f32(), self.forward(x.to_f32()))),
        }
    }

    /// A stream plus its gate times [`forward`](Self::forward): `[batch, tokens, output]`.
    pub fn forward_gated(&self, x: Activations<3>, to: Gated) -> Tensor<3> {
        match (self.alone(), &self.bias) {
            (Some(weight), Some(bias)) => product_gated(x, weight, bias.clone(), to),
            _ => gated_residual(to.residual, to.gate, self.forward(x.to_f32())),
        }
    }

    /// The matrix, where it is whole and nothing changes it.
    fn alone(&self) -> Option<Weight<'_>> {
        match &self.weight {
            _ if self.change.is_some() => None,
            Matrix::Dense(weight) => Some(Weight::Dense(weight, self.input_bits)),
            Matrix::Parts(_) => None,
            Matrix::Quantized(weight) => Some(Weight::Blocks(weight)),
        }
    }

    /// `[rows, input]` -> `[rows, output]` by the matrix itself.
    fn product(&self, x: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
        match &self.weight {
            Matrix::Dense(weight) => linear_rounded(x, weight.clone(), bias, self.input_bits),
            Matrix::Parts(parts) => product_in_parts(&x, parts, bias.as_ref()),
            Matrix::Quantized(weight) => qmatmul(x, weight, bias),
        }
    }
}

/// The outputs of every part side by side.
fn product_in_parts(x: &Tensor<2>, parts: &[Tensor<2>], bias: Option<&Tensor<1>>) -> Tensor<2> {
    let mut first = 0;
    let outputs = parts.iter().map(|part| {
        let rows = first..first + part.dims()[0];
        first = rows.end;
        linear(
            x.clone(),
            part.clone(),
            bias.map(|bias| bias.clone().slice([rows])),
        )
    });
    Tensor::cat(outputs.collect(), 1)
}

/// Rows of a table, chosen by token ids.
#[derive(Debug, Clone)]
pub struct Embedding {
    weight: Matrix, // [vocabulary, width]
}

impl Embedding {
    /// Reads `weight` `[vocabulary, width]` under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(scope: &Scope<'_>, vocabulary: usize, width: usize) -> Result<Self> {
        Ok(Self {
            weight: scope.matrix("weight", [vocabulary, width]).await?,
        })
    }

    /// `[batch, tokens]` -> `[batch, tokens, width]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, tokens] = ids.dims();
        let ids = ids.reshape([batch * tokens]);
        let rows = match &self.weight {
            // A table of 16 bits stays so; the rows that were chosen become f32.
            Matrix::Dense(weight) => weight.clone().select(0, ids).cast(FloatDType::F32),
            Matrix::Parts(parts) => select_in_parts(&ids, parts),
            Matrix::Quantized(weight) => weight.select(ids),
        };
        let width = rows.dims()[1];
        rows.reshape([batch, tokens, width])
    }

    /// The head that shares this table (`tie_word_embeddings`).
    pub fn as_head(&self) -> Linear {
        Linear::new(self.weight.clone(), None)
    }
}

/// Rows `[ids, width]` of a table in parts: every part gives those that it has, and zeros.
fn select_in_parts(ids: &Tensor<1, Int>, parts: &[Tensor<2>]) -> Tensor<2> {
    let mut first = 0;
    let rows = parts.iter().map(|part| {
        let count = part.dims()[0] as i64;
        let local = ids.clone() - first;
        first += count;
        let elsewhere = local
            .clone()
            .lower_elem(0)
            .bool_or(local.clone().greater_equal_elem(count));
        let rows = part.clone().select(0, local.clamp(0, count - 1));
        rows.mask_fill(elsewhere.unsqueeze_dim(1), 0.0)
    });
    rows.reduce(|sum, rows| sum + rows)
        .expect("a table has a part")
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0)
            .collect()
    }

    /// A matrix `[7, 4]` whole, and in parts of three rows.
    fn whole_and_parts(device: &Device) -> [Matrix; 2] {
        let whole = Tensor::<2>::from_data(TensorData::new(values(28), [7, 4]), device);
        let parts = [0..3, 3..6, 6..7].map(|rows| whole.clone().slice([rows]));
        [Matrix::Dense(whole), Matrix::Parts(parts.to_vec())]
    }

    fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().expect("f32 data")
    }

    #[test]
    fn a_layer_in_parts_gives_what_the_whole_gives() {
        let device = Device::flex();
        let x = Tensor::<3>::from_data(TensorData::new(values(24), [2, 3, 4]), &device);
        for bias in [
            None,
            Some(Tensor::<1>::from_data(values(7).as_slice(), &device)),
        ] {
            let [whole, parts] = whole_and_parts(&device)
                .map(|weight| Linear::new(weight, bias.clone()).forward(x.clone()))
                .map(floats);
            assert_eq!(whole.len(), 42);
            for (found, expected) in parts.iter().zip(&whole) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }

    #[test]
    fn a_table_in_parts_gives_the_same_rows() {
        let device = Device::flex();
        let ids = Tensor::<2, Int>::from_data([[0, 2, 3], [5, 6, 6]], &device);
        let [whole, parts] = whole_and_parts(&device)
            .map(|weight| floats(Embedding { weight }.forward(ids.clone())));
        assert_eq!(whole, parts);
    }
}
