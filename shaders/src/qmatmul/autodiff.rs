//! Gradients of the matmul: of the inputs and the bias. The weight is frozen.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend};
use burn_cubecl::CubeBackend;
use burn_flex::{Flex, FlexTensor};

use super::{BlockOps, BlockType, flex};
use crate::autodiff::{Gradients, Strategy, record};
use crate::linear::backward::bias_backward;
use x2i_cpu::integer::InputBits;

/// What a backend may replace.
pub(crate) trait BlockGradients: BlockOps {
    /// That of the input: `gradient [m, rows]` times the weight. The CPU may round both as `input_bits` says.
    fn matmul_blocks_backward(
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let _ = input_bits;
        let weight = Self::dequantize_blocks(packed, scales, block_type);
        Self::float_matmul(gradient, weight)
    }
}

impl BlockGradients for CubeBackend {}

impl BlockGradients for Flex {
    fn matmul_blocks_backward(
        packed: FlexTensor,
        scales: FlexTensor,
        gradient: FlexTensor,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FlexTensor {
        flex::backward(packed, scales, gradient, block_type, input_bits)
    }
}

/// The product, with its weight.
#[derive(Debug, Clone)]
struct Product<B: Backend> {
    packed: IntTensor<B>,
    scales: FloatTensor<B>,
    block_type: BlockType,
    input_bits: InputBits,
}

impl<B: BlockGradients> Product<B> {
    fn of_x(self, gradient: FloatTensor<B>) -> FloatTensor<B> {
        let Self {
            packed,
            scales,
            block_type,
            input_bits,
        } = self;
        B::matmul_blocks_backward(packed, scales, gradient, block_type, input_bits)
    }
}

impl<B: BlockGradients> Gradients<B, 1> for Product<B> {
    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false; 1]
    }

    fn gradients(
        self,
        _: [Option<FloatTensor<B>>; 1],
        gradient: FloatTensor<B>,
        _: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        [Some(self.of_x(gradient))]
    }
}

impl<B: BlockGradients> Gradients<B, 2> for Product<B> {
    fn reads(&self, _: [bool; 2]) -> [bool; 2] {
        [false; 2]
    }

    fn gradients(
        self,
        _: [Option<FloatTensor<B>>; 2],
        gradient: FloatTensor<B>,
        wanted: [bool; 2],
    ) -> [Option<FloatTensor<B>>; 2] {
        let of_bias = wanted[1].then(|| bias_backward::<B>(gradient.clone()));
        [wanted[0].then(|| self.of_x(gradient)), of_bias]
    }
}

impl<B: BlockGradients, C: Strategy> BlockOps for Autodiff<B, C> {
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
        let scales = <Self as AutodiffBackend>::inner(scales);
        let product = Product::<B> {
            packed: packed.clone(),
            scales: scales.clone(),
            block_type,
            input_bits,
        };
        record::<B, C, _, _>(product, [x], |[x]| {
            B::matmul_blocks(x, packed, scales, block_type, input_bits)
        })
    }

    fn matmul_blocks_bias(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let scales = <Self as AutodiffBackend>::inner(scales);
        let product = Product::<B> {
            packed: packed.clone(),
            scales: scales.clone(),
            block_type,
            input_bits,
        };
        record::<B, C, _, _>(product, [x, bias], |[x, bias]| {
            B::matmul_blocks_bias(x, packed, scales, bias, block_type, input_bits)
        })
    }
}
