//! Scopes that outlive the loading: layers that have no place on the device are read from them in every call.
//!
//! Not here: how many layers have a place (`pipeline`), and in which order they are read (`encoders`).

use std::sync::Arc;

use burn::tensor::Device;
use x2i_shaders::InputBits;

use super::set::Weights;

/// How many of a decoder's layers stay on the device, and the weights that the others are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streaming<'a> {
    /// The first layers, which stay.
    pub resident: usize,
    /// The weights of the scope.
    pub weights: &'a Arc<Weights>,
}

/// A scope to read from later.
#[derive(Debug, Clone)]
pub(crate) struct Later {
    pub(super) weights: Arc<Weights>,
    pub(super) device: Device,
    pub(super) prefix: String,
    pub(super) input_bits: InputBits,
}
