//! `Linear`, dense or quantized, and the token embedding: one type, so that no model has a twin.

use burn::tensor::{FloatDType, Int, Tensor};
use x2i_shaders::{linear, qmatmul};

use crate::error::Result;
use crate::lora::LowRank;
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
    low_rank: Option<Box<LowRank>>,
}

impl Linear {
    /// Reads `weight` `[output, input]` and `bias` `[output]` under `scope`, and what LoRAs add there.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(scope: &Scope<'_>, input: usize, output: usize, bias: Bias) -> Result<Self> {
        let weight = scope.matrix("weight", [output, input]).await?;
        let bias = match bias {
            Bias::Yes => Some(scope.tensor("bias", [output]).await?),
            Bias::No => None,
        };
        Ok(Self {
            weight,
            bias,
            low_rank: scope.low_rank().await?.map(Box::new),
        })
    }

    /// A layer of given tensors: `weight` `[output, input]`, `bias` `[output]`.
    pub fn new(weight: Matrix, bias: Option<Tensor<1>>) -> Self {
        Self {
            weight,
            bias,
            low_rank: None,
        }
    }

    /// `[.., input]` -> `[.., output]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut shape = x.dims();
        let input = shape[D - 1];
        let rows = shape[..D - 1].iter().product::<usize>();
        let x = x.reshape([rows, input]);
        let change = self.low_rank.as_ref().map(|lora| lora.forward(x.clone()));
        let y = match &self.weight {
            Matrix::Dense(weight) => linear(x, weight.clone(), self.bias.clone()),
            Matrix::Quantized(weight) => qmatmul(x, weight, self.bias.clone()),
        }; // [rows, output]
        let y = match change {
            Some(change) => y + change,
            None => y,
        };
        shape[D - 1] = y.dims()[1];
        y.reshape(shape)
    }
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
