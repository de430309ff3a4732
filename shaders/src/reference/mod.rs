//! Naive oracles on the host: plain loops over row-major slices, with sums in f64.
//!
//! The tests of the kernels compare with them. They are slow.

mod attention;
mod conv2d;
mod cooperative;
mod gelu;
mod group_norm;
mod linear;
mod norm;
mod norm_rope;
mod qmatmul;
mod residual;

pub use attention::{AttentionShape, attention};
pub use conv2d::{conv2d, halving_conv2d, twice};
pub use cooperative::halves;
pub use gelu::gelu_tanh;
pub use group_norm::{group_moments, group_norm};
pub use linear::linear;
pub use norm::{modulated_layer_norm, rms_norm};
pub use norm_rope::rotate_neighbours;
pub use qmatmul::{dequantize, qmatmul};
pub use residual::gated_residual;
