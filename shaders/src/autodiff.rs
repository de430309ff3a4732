//! Gradients through the kernels; native targets alone, where models are trained.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend};

use crate::{BlockType, KernelOps};

/// Attention and matmul inherit the differentiable default bodies. The quantized weight is frozen:
/// its blocks are expanded by the inner backend's kernel and enter the graph as a constant.
impl<B: KernelOps, C: CheckpointStrategy> KernelOps for Autodiff<B, C> {
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
