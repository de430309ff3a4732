//! The gated residual made of burn operations: differentiable, and correct on every backend.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

pub(crate) fn gated_residual<B: Backend>(
    x: FloatTensor<B>,
    gate: FloatTensor<B>,
    y: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_add(x, B::float_mul(y, gate))
}
