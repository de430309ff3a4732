//! Tensors that stand in place of a part's own: what a training step changes.
//!
//! A [`Scope`](super::Scope) that was given leaves hands them out where a model asks for the tensors of their
//! names, so that the graph of inference is the graph of training. A model holds what it was given: it is loaded
//! anew for other leaves, which costs nothing where the frozen tensors are [held](super::Held). Left out: where the
//! numbers come from, and gradients (`training`).

use std::collections::BTreeMap;
use std::ops::Range;

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;

use crate::lora::{LayerChange, TrainedPair};

/// Tensors on a device by our names, and low-rank changes by layer.
#[derive(Debug, Clone, Default)]
pub struct Leaves {
    tensors: BTreeMap<String, Leaf>,
    pairs: BTreeMap<String, Vec<PairNames>>,
}

/// A tensor of any number of axes.
#[derive(Debug, Clone)]
struct Leaf {
    tensor: DispatchTensor,
    shape: Vec<usize>,
}

/// A low-rank change of some rows of a layer: `scale · up (down x)` is added to the layer's outputs there.
#[derive(Debug, Clone, PartialEq)]
pub struct PairNames {
    /// The outputs that change.
    pub rows: Range<usize>,
    /// The leaf `[rank, in]`.
    pub down: String,
    /// The leaf `[rows, rank]`.
    pub up: String,
    /// Alpha / rank.
    pub scale: f32,
    /// DoRA's lengths of the changed rows, where they are trained.
    pub magnitude: Option<Magnitude>,
}

/// DoRA's part of a [`PairNames`].
#[derive(Debug, Clone, PartialEq)]
pub struct Magnitude {
    /// The leaf `[rows]`.
    pub name: String,
    /// The squared lengths of the rows of the model's own matrix, `[rows]`.
    pub squares: Vec<f32>,
}

impl Leaves {
    /// Puts a tensor in place of the one of this name.
    pub fn insert<const D: usize>(&mut self, name: impl Into<String>, tensor: Tensor<D>) {
        let leaf = Leaf {
            shape: tensor.dims().to_vec(),
            tensor: tensor.into_dispatch(),
        };
        self.tensors.insert(name.into(), leaf);
    }

    /// Adds a change of a layer, by our name of it without `.weight`.
    pub fn insert_pair(&mut self, layer: impl Into<String>, pair: PairNames) {
        self.pairs.entry(layer.into()).or_default().push(pair);
    }

    /// The tensor of a name, where it has `D` axes.
    pub fn get<const D: usize>(&self, name: &str) -> Option<Tensor<D>> {
        let leaf = self.tensors.get(name)?;
        (leaf.shape.len() == D).then(|| Tensor::from_dispatch(leaf.tensor.clone()))
    }

    /// All names with the shapes of their tensors, sorted.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let leaves = self.tensors.iter();
        leaves.map(|(name, leaf)| (name.as_str(), leaf.shape.as_slice()))
    }

    /// The shape of the tensor of a name.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|leaf| leaf.shape.as_slice())
    }

    /// `change` and the pairs of a layer, if there is either.
    ///
    /// # Panics
    /// When a pair names leaves that are not there.
    pub(super) fn change(&self, layer: &str, change: Option<LayerChange>) -> Option<LayerChange> {
        let Some(pairs) = self.pairs.get(layer) else {
            return change;
        };
        let mut change = change.unwrap_or_default();
        for pair in pairs {
            let leaf = |name| self.get(name).expect("a pair's leaves are there");
            change.train(TrainedPair::new(
                pair.rows.clone(),
                [leaf(&pair.down), leaf(&pair.up)],
                pair.scale,
                pair.magnitude.as_ref().map(|magnitude| {
                    let lengths = self.get(&magnitude.name);
                    let lengths: Tensor<1> = lengths.expect("a pair's leaves are there");
                    let squares =
                        Tensor::from_data(magnitude.squares.as_slice(), &lengths.device());
                    [lengths, squares]
                }),
            ));
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_leaf_is_given_where_the_axes_agree() {
        let mut leaves = Leaves::default();
        leaves.insert("a.weight", Tensor::<2>::zeros([2, 3], &Device::flex()));
        assert_eq!(
            leaves.get::<2>("a.weight").map(|leaf| leaf.dims()),
            Some([2, 3])
        );
        assert!(leaves.get::<1>("a.weight").is_none());
        assert!(leaves.get::<2>("b.weight").is_none());
    }
}
