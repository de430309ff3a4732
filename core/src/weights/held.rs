//! Frozen tensors of a part that stay on a device while the model around them is loaded again and again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;

use super::matrix::Matrix;

/// What was read through a [`Scope`](super::Scope) [with it](super::Scope::held_by), by name and rows.
#[derive(Debug, Default)]
pub struct Held {
    matrices: Mutex<BTreeMap<(String, [usize; 2]), Matrix>>,
    tensors: Mutex<BTreeMap<(String, [usize; 2]), DispatchTensor>>,
}

fn key(name: &str, rows: &Range<usize>) -> (String, [usize; 2]) {
    (name.to_owned(), [rows.start, rows.end])
}

impl Held {
    pub(super) fn matrix(&self, name: &str, rows: &Range<usize>) -> Option<Matrix> {
        let matrices = self.matrices.lock().unwrap_or_else(PoisonError::into_inner);
        matrices.get(&key(name, rows)).cloned()
    }

    pub(super) fn keep_matrix(&self, name: &str, rows: &Range<usize>, matrix: &Matrix) {
        let mut matrices = self.matrices.lock().unwrap_or_else(PoisonError::into_inner);
        matrices.insert(key(name, rows), matrix.clone());
    }

    pub(super) fn tensor<const D: usize>(
        &self,
        name: &str,
        rows: &Range<usize>,
    ) -> Option<Tensor<D>> {
        let tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        let tensor = tensors.get(&key(name, rows)).cloned();
        tensor.map(Tensor::from_dispatch)
    }

    pub(super) fn keep_tensor<const D: usize>(
        &self,
        name: &str,
        rows: &Range<usize>,
        tensor: &Tensor<D>,
    ) {
        let mut tensors = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        tensors.insert(key(name, rows), tensor.clone().into_dispatch());
    }
}
