//! Gradients through the matmul: with respect to the inputs and the bias, not the weight, which is frozen.
//!
//! The forward is the backend's own. On the way back the weight is dequantized in stripes, so that it never exists as
//! a whole in f32; the gradient is that of the unrounded product.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};

use super::{BlockOps, BlockType};
use crate::integer::InputBits;
use crate::linear::autodiff::sum_stripes;

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

    fn matmul_blocks(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let scales = scales.into_primitive();
        let cols = x.shape()[1];
        let (x, node) = x.into_parts();
        let state = Frozen::<B> {
            packed: packed.clone(),
            scales: scales.clone(),
            block_type,
            cols,
        };
        let out = B::matmul_blocks(x, packed, scales, block_type, input_bits);
        let prepared = Product.prepare::<C>([node]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }
}

/// A weight that does not learn.
#[derive(Debug, Clone)]
struct Frozen<B: Backend> {
    packed: IntTensor<B>,
    scales: FloatTensor<B>,
    block_type: BlockType,
    cols: usize,
}

/// The product of `x [m, cols]` and a frozen weight transposed.
#[derive(Debug)]
struct Product;

impl<B: BlockOps> Backward<B, 1> for Product {
    type State = Frozen<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let [node] = ops.parents;
        let Some(node) = node else {
            return;
        };
        let Frozen {
            packed,
            scales,
            block_type,
            cols,
        } = ops.state;
        let rows = packed.shape()[0];
        let gradient = sum_stripes::<B>(gradient, Shape::new([rows, cols]), |range| {
            let rows = [Slice::from(range), Slice::new(0, None, 1)];
            let packed = B::int_slice(packed.clone(), &rows);
            let scales = match scales.shape()[1] {
                0 => scales.clone(),
                _ => B::float_slice(scales.clone(), &rows),
            };
            B::dequantize_blocks(packed, scales, block_type)
        });
        grads.register::<B>(node.id, gradient);
    }
}
