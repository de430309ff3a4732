//! Gradients through the matmul: with respect to the inputs and the bias, not the weight.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend};

use super::{BlockOps, BlockType};

/// The product inherits the differentiable default body. The quantized weight is frozen: the inner backend
/// dequantizes it, and it enters the graph as a constant.
impl<B: BlockOps, C: CheckpointStrategy> BlockOps for Autodiff<B, C> {
    fn dequantize_blocks(
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        block_type: BlockType,
    ) -> FloatTensor<Self> {
        let scales = <Self as AutodiffBackend>::inner(scales);
        let weight = B::dequantize_blocks(packed, scales, block_type);
        <Self as AutodiffBackend>::from_inner(weight)
    }
}
