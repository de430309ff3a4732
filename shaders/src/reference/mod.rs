//! Naive oracles on the host: plain loops over slices, sums in f64.

mod attention;
mod gelu;
mod linear;
mod norm;
mod qmatmul;

pub use attention::{AttentionShape, attention};
pub use gelu::gelu_tanh;
pub use linear::linear;
pub use norm::{gated_residual, modulated_layer_norm, rms_norm, rotate_neighbours};
pub use qmatmul::{dequantize, qmatmul};
