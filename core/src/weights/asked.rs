//! The names that a part of the graph asks for, so that a check finds tensors that nothing reads.

use std::cell::RefCell;
use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};

/// The names of tensors that were asked for, and what was given in their place: one zero, seen as a
/// tensor of any shape.
#[derive(Debug)]
pub struct Asked {
    names: RefCell<BTreeSet<String>>,
    zero: Tensor<1>,
}

impl Asked {
    /// Nothing was asked for; the zero is on `device`.
    pub fn new(device: &Device) -> Self {
        Self {
            names: RefCell::default(),
            zero: Tensor::zeros([1], device),
        }
    }

    /// Adds a name.
    pub(super) fn add(&self, name: &str) {
        self.names.borrow_mut().insert(name.to_owned());
    }

    /// Zeros in a shape; they take no memory.
    pub(super) fn zeros<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        self.zero.clone().reshape([1; D]).expand(shape)
    }

    /// True when a tensor of this name was asked for.
    pub fn contains(&self, name: &str) -> bool {
        self.names.borrow().contains(name)
    }
}
