//! Naive oracles on the host: plain loops over slices, sums in f64.

mod attention;
mod conv2d;
mod gelu;
mod group_norm;
mod linear;
mod qmatmul;

pub use attention::{AttentionShape, attention};
pub use conv2d::{conv2d, twice};
pub use gelu::gelu_tanh;
pub use group_norm::{group_moments, group_norm};
pub use linear::linear;
pub use qmatmul::{dequantize, qmatmul};
