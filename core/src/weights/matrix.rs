//! The weight of a layer, however it is held.

use burn::tensor::Tensor;
use x2i_shaders::BlockQuantized;

/// A linear layer's weight, `[out, in]`.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "both are handles that live inside a layer; a box would only add a hop per product"
)]
pub enum Matrix {
    /// f32, or 16 bits where the file has 8 or 16 and products take them ([`takes_halves`](x2i_shaders::takes_halves)).
    Dense(Tensor<2>),
    /// The same cut between rows, where the device can't bind the whole.
    Parts(Vec<Tensor<2>>),
    /// Blocks on the device: ggml's, floats of 8 or 4 bits, or whole numbers of other libraries. They are
    /// dequantized inside the matrix product.
    Quantized(BlockQuantized),
}
