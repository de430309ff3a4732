//! Naive oracles on the host: plain loops over slices, sums in f64.

mod attention;
mod qmatmul;

pub use attention::{AttentionShape, attention};
pub use qmatmul::{dequantize, qmatmul};
