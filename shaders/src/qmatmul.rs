//! Weights in blocks, of whole numbers or of floats, and the matmul on them, without an f32 copy of the weight.
//!
//! The CPU reads the blocks of the file in place. Other devices get the arrays of [`device`].

#[cfg(not(target_family = "wasm"))]
mod autodiff;
pub(crate) mod composed;
mod constants;
pub(crate) mod cooperative;
mod device;
mod expand;
mod flex;
mod weight;
pub(crate) mod wgpu;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchTensorKind, backend_extension};
use burn::tensor::{DType, Int, Tensor};

use crate::linear::composed::{add_bias, linear};
use crate::wgsl;
#[cfg(not(target_family = "wasm"))]
pub(crate) use device::DeviceLayout;
pub use device::{device_len, words_len};
pub use weight::{BlockQuantized, QuantError};
pub(crate) use wgpu::shaders;
use x2i_cpu::formats::BlockType;
use x2i_cpu::integer::InputBits;

/// `x [m, cols]` times `weight [rows, cols]` transposed, plus `bias [rows]`: `[m, rows]`, all f32.
///
/// Differentiable with respect to `x` and `bias`; the weight is a constant. On the CPU a product of many
/// input rows rounds the inputs: see [`InputBits`].
///
/// # Panics
/// When the shapes do not agree as above, or `x` or `bias` is not f32.
pub fn qmatmul(x: Tensor<2>, weight: &BlockQuantized, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [rows, cols] = weight.shape;
    assert_eq!(x.dtype(), DType::F32, "qmatmul: the input must be f32");
    assert_eq!(
        x.dims()[1],
        cols,
        "qmatmul: the input's columns must be the weight's"
    );
    let x = x.into_dispatch();
    let packed = weight.packed.clone().into_dispatch();
    let scales = weight.scales.clone().into_dispatch();
    Tensor::from_dispatch(match bias {
        Some(bias) => {
            assert_eq!(
                (bias.dims(), bias.dtype()),
                ([rows], DType::F32),
                "qmatmul: the bias needs the weight's rows, in f32"
            );
            let bias = bias.into_dispatch();
            <Dispatch as BlockOps>::matmul_blocks_bias(
                x,
                packed,
                scales,
                bias,
                weight.block_type,
                weight.input_bits,
            )
        }
        None => <Dispatch as BlockOps>::matmul_blocks(
            x,
            packed,
            scales,
            weight.block_type,
            weight.input_bits,
        ),
    })
}

impl BlockQuantized {
    /// The weight as cooperative matrices take it, on a device that has them.
    pub(crate) fn right(&self) -> cooperative::Right {
        let packed = match self.packed.clone().into_dispatch().kind {
            DispatchTensorKind::Cube(tensor) => tensor.int(),
            _ => panic!("the device has cubecl's tensors"),
        };
        let scales = wgsl::cube(self.scales.clone());
        cooperative::Right::blocks(packed, scales, self.block_type)
    }

    /// The whole weight: `[rows, cols]`, f32.
    pub fn dequantize(&self) -> Tensor<2> {
        dequantize(self.packed.clone(), self.scales.clone(), self.block_type)
    }

    /// The given rows: `[n, cols]`, f32. An embedding look-up, which leaves the table quantized.
    pub fn select(&self, rows: Tensor<1, Int>) -> Tensor<2> {
        let packed = self.packed.clone().select(0, rows.clone());
        let scales = match self.scales.dims()[1] {
            0 => self.scales.clone(),
            _ => self.scales.clone().select(0, rows),
        };
        dequantize(packed, scales, self.block_type)
    }
}

fn dequantize(packed: Tensor<2, Int>, scales: Tensor<2>, block_type: BlockType) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as BlockOps>::dequantize_blocks(
        packed.into_dispatch(),
        scales.into_dispatch(),
        block_type,
    ))
}

/// What a backend may replace; shapes as in the functions above, which check them.
///
/// `packed` and `scales` are the arrays of a [`BlockQuantized`]. CUDA has products of its own:
/// [`library`](crate::library).
#[backend_extension(Cube, Flex, Autodiff: cfg(not(target_family = "wasm")))]
pub(crate) trait BlockOps: Backend {
    /// The whole weight: `[rows, cols]` f32.
    fn dequantize_blocks(
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        block_type: BlockType,
    ) -> FloatTensor<Self> {
        composed::dequantize_blocks::<Self>(packed, scales, block_type)
    }

    /// [`qmatmul`] without a bias.
    fn matmul_blocks(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let _ = input_bits; // the CPU alone rounds inputs
        linear::<Self>(x, Self::dequantize_blocks(packed, scales, block_type), None)
    }

    /// [`qmatmul`] with a bias.
    fn matmul_blocks_bias(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        block_type: BlockType,
        input_bits: InputBits,
    ) -> FloatTensor<Self> {
        let product = Self::matmul_blocks(x, packed, scales, block_type, input_bits);
        add_bias::<Self>(product, bias)
    }
}
