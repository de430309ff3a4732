//! Inputs of the passes of a transformer block, as their neighbours leave them in memory.

#![allow(
    dead_code,
    reason = "every test file compiles its own copy and uses a part"
)]

use burn::tensor::Tensor;

use crate::common::Values;
pub use crate::common::tensor;

/// f32 sums over at most 3072 terms and a root, relative to the largest value.
pub const TOLERANCE: f32 = 3e-6;
/// What FLUX adds below the root.
pub const EPS: f32 = 1e-6;

/// The middle third of a tensor three times as wide: rows that do not follow each other.
pub fn sliced(x: Tensor<3>) -> Tensor<3> {
    let width = x.dims()[2];
    Tensor::cat(vec![x.clone() + 9.0, x.clone(), x - 7.0], 2).narrow(2, width, width)
}

/// The same values with the tokens next to each other in memory.
fn transposed(x: Tensor<3>) -> Tensor<3> {
    (x.swap_dims(1, 2) * 1.0).swap_dims(1, 2)
}

pub const VIEWS: [fn(Tensor<3>) -> Tensor<3>; 3] = [|x| x, sliced, transposed];

/// `[batch, tokens, width]`
pub const SHAPES: [[usize; 3]; 6] = [
    [1, 1, 1],
    [1, 3, 7],
    [2, 5, 64],
    [3, 17, 130],
    [1, 33, 256],
    [2, 9, 3072],
];

/// Values of every row, with a large common offset in some: what a careless variance loses.
pub fn rows(seed: usize, [batch, tokens, width]: [usize; 3], magnitude: f32) -> Vec<f32> {
    let mut values = Values::new(seed as u64 + 1).normals(batch * tokens * width);
    for (row, values) in values.chunks_exact_mut(width).enumerate() {
        for value in values {
            *value = (*value + (row % 3) as f32) * magnitude;
        }
    }
    values
}
