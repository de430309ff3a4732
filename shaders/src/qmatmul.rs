//! Weights in ggml blocks and the matmul on them, without an f32 copy of the weight.
//!
//! Source: the block formats `Q8_0` and `Q4_0` of ggml (`ggml-common.h`). On the device a block is
//! one f32 scale and 8 or 4 little-endian `u32` words, the block's bytes in ggml's own order.

pub(crate) mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, TensorMetadata};
use burn::tensor::{DType, Device, Int, Shape, Tensor, TensorData};
use half::f16;

use crate::KernelOps;

/// Weights in a block, along the input dimension.
pub(crate) const BLOCK: usize = 32;

/// How 32 weights of a row are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockType {
    /// An f16 scale and 32 signed bytes.
    Q8_0,
    /// An f16 scale and 16 bytes: byte `j` holds element `j` in its low and element `j + 16` in its
    /// high nibble, each as `value / scale + 8`.
    Q4_0,
}

impl BlockType {
    /// `u32` words of packed values in a block.
    pub(crate) const fn words(self) -> usize {
        match self {
            Self::Q8_0 => 8,
            Self::Q4_0 => 4,
        }
    }

    /// Bytes of a block in a file: the scale and the packed values.
    const fn bytes(self) -> usize {
        size_of::<f16>() + self.words() * size_of::<u32>()
    }
}

/// Why bytes are not a block-quantized weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantError {
    /// Rows are not a whole number of blocks.
    Columns {
        /// Elements in a row.
        cols: usize,
    },
    /// The bytes do not fill the shape.
    Length {
        /// Bytes that the shape needs.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

impl std::fmt::Display for QuantError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Columns { cols } => {
                write!(
                    f,
                    "{cols} columns are not a multiple of the block of {BLOCK}"
                )
            }
            Self::Length { expected, found } => {
                write!(f, "{found} bytes of blocks, the shape needs {expected}")
            }
        }
    }
}

impl std::error::Error for QuantError {}

/// A weight `[rows (out), cols (in)]` kept in blocks on its device.
#[derive(Debug, Clone)]
pub struct BlockQuantized {
    /// Packed values, u32: `[rows, cols / 32 * words]`.
    words: Tensor<2, Int>,
    /// f32: `[rows, cols / 32]`.
    scales: Tensor<2>,
    block_type: BlockType,
    shape: [usize; 2],
}

impl BlockQuantized {
    /// Takes `bytes` in ggml's layout: the blocks of a row one after the other, row after row.
    ///
    /// # Errors
    /// When `shape[1]` is not a multiple of 32 or `bytes` does not have the length of `shape`.
    pub fn from_ggml(
        bytes: &[u8],
        block_type: BlockType,
        shape: [usize; 2],
        device: &Device,
    ) -> Result<Self, QuantError> {
        let [rows, cols] = shape;
        if !cols.is_multiple_of(BLOCK) {
            return Err(QuantError::Columns { cols });
        }
        let row_blocks = cols / BLOCK;
        let blocks = rows.saturating_mul(row_blocks);
        let expected = blocks.saturating_mul(block_type.bytes());
        if bytes.len() != expected {
            return Err(QuantError::Length {
                expected,
                found: bytes.len(),
            });
        }

        let mut scales = Vec::with_capacity(blocks);
        let mut words = Vec::with_capacity(blocks * block_type.words());
        for block in bytes.chunks_exact(block_type.bytes()) {
            let (scale, values) = block.split_at(size_of::<f16>());
            scales.push(f16::from_le_bytes([scale[0], scale[1]]).to_f32());
            words.extend(
                values
                    .chunks_exact(4)
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            );
        }
        let words = TensorData::new(words, [rows, row_blocks * block_type.words()]);
        Ok(Self {
            words: Tensor::from_data(words, (device, DType::U32)),
            scales: Tensor::from_data(
                TensorData::new(scales, [rows, row_blocks]),
                (device, DType::F32),
            ),
            block_type,
            shape,
        })
    }

    /// `[rows (out), cols (in)]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// How the values are packed.
    pub fn block_type(&self) -> BlockType {
        self.block_type
    }

    /// Where the blocks are.
    pub fn device(&self) -> Device {
        self.scales.device()
    }

    /// The whole weight, `[rows, cols]` f32.
    pub fn dequantize(&self) -> Tensor<2> {
        dequantize(self.words.clone(), self.scales.clone(), self.block_type)
    }

    /// The given rows, `[n, cols]` f32: an embedding look-up that leaves the table packed.
    pub fn select(&self, rows: Tensor<1, Int>) -> Tensor<2> {
        dequantize(
            self.words.clone().select(0, rows.clone()),
            self.scales.clone().select(0, rows),
            self.block_type,
        )
    }
}

fn dequantize(words: Tensor<2, Int>, scales: Tensor<2>, block_type: BlockType) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as KernelOps>::dequantize_blocks(
        words.into_dispatch(),
        scales.into_dispatch(),
        block_type,
    ))
}

/// `x [m, cols]` f32 times the weight transposed: `[m, rows]`.
///
/// Differentiable with respect to `x`; the weight is a constant.
///
/// # Panics
/// When `x` does not have the weight's number of columns, or is not f32.
pub fn qmatmul(x: Tensor<2>, weight: &BlockQuantized) -> Tensor<2> {
    assert_eq!(x.dtype(), DType::F32, "qmatmul: the input must be f32");
    assert_eq!(
        x.dims()[1],
        weight.shape[1],
        "qmatmul: the input's columns must be the weight's"
    );
    Tensor::from_dispatch(<Dispatch as KernelOps>::matmul_blocks(
        x.into_dispatch(),
        weight.words.clone().into_dispatch(),
        weight.scales.clone().into_dispatch(),
        weight.block_type,
    ))
}

/// The reference made of burn operations: right on every backend.
pub(crate) fn composed_dequantize<B: Backend>(
    words: IntTensor<B>,
    scales: FloatTensor<B>,
    block_type: BlockType,
) -> FloatTensor<B> {
    let (rows, row_blocks) = (scales.shape()[0], scales.shape()[1]);
    let blocks = rows * row_blocks;
    // Element e of a block is in word `e % 16 / 4` (Q4_0) or `e / 4` (Q8_0), byte `e % 4`.
    let (halves, mask, offset) = match block_type {
        BlockType::Q8_0 => (1, 0xff, 128),
        BlockType::Q4_0 => (2, 0x0f, 8),
    };
    let shifts: Vec<u32> = (0..halves)
        .flat_map(|half| (0..4).map(move |byte| 8 * byte + 4 * half))
        .collect();
    let expanded = Shape::new([blocks, halves as usize, block_type.words(), 4]);

    let device = words.device();
    let shifts = TensorData::new(shifts, [1, halves as usize, 1, 4]);
    let shifts = B::int_expand(B::int_from_data(shifts, &device), expanded.clone());
    let words = B::int_reshape(words, Shape::new([blocks, 1, block_type.words(), 1]));
    let values = B::bitwise_right_shift(B::int_expand(words, expanded), shifts);
    let values = B::bitwise_and_scalar(values, (mask as u32).into());
    // Two's complement as an offset: the sign bit flipped, then subtracted again.
    let values = match block_type {
        BlockType::Q8_0 => B::bitwise_xor_scalar(values, (offset as u32).into()),
        BlockType::Q4_0 => values,
    };
    let values = B::int_into_float(values, scales.dtype().into());
    let values = B::float_sub_scalar(values, (offset as f32).into());
    let values = B::float_reshape(values, Shape::new([blocks, BLOCK]));
    let scales = B::float_reshape(scales, Shape::new([blocks, 1]));
    let values = B::float_mul(values, scales);
    B::float_reshape(values, Shape::new([rows, row_blocks * BLOCK]))
}
