//! Weights in ggml blocks and the matmul on them, without an f32 copy of the weight.
//!
//! The CPU reads blocks where the file has them, other devices get [`device`]'s arrays.

pub(crate) mod block_type;
pub(crate) mod device;
pub(crate) mod flex;
pub(crate) mod wgpu;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchDevice, TensorMetadata};
use burn::tensor::{Bytes, DType, Device, Int, Shape, Tensor, TensorData};

use crate::{InputBits, KernelOps};
pub use block_type::BlockType;
pub(crate) use block_type::{GROUP, Group, Quant};
use device::DeviceLayout;

/// Why bytes are not a block-quantized weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantError {
    /// Rows are not a whole number of blocks.
    Columns {
        /// Elements in a row.
        cols: usize,
        /// Elements in a block.
        block: usize,
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
            Self::Columns { cols, block } => {
                write!(
                    f,
                    "{cols} columns are not a multiple of the block of {block}"
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
    /// On the CPU ggml's blocks, u8: `[rows, bytes of a row]`. Elsewhere u32: `[rows, words of a row]`.
    packed: Tensor<2, Int>,
    /// f32: `[rows, scales of a row]`; none on the CPU, where the blocks hold them.
    scales: Tensor<2>,
    block_type: BlockType,
    shape: [usize; 2],
    input_bits: InputBits,
}

impl BlockQuantized {
    /// Takes `bytes` in ggml's layout: the blocks of a row one after the other, row after row.
    ///
    /// The CPU keeps `bytes` as they are, other devices a copy in words.
    ///
    /// # Errors
    /// When `shape[1]` is not a multiple of the block or `bytes` does not have the length of `shape`.
    pub fn from_ggml(
        bytes: Bytes,
        block_type: BlockType,
        shape: [usize; 2],
        device: &Device,
    ) -> Result<Self, QuantError> {
        let [rows, cols] = shape;
        let block = block_type.len();
        if !cols.is_multiple_of(block) {
            return Err(QuantError::Columns { cols, block });
        }
        let row_bytes = cols / block * block_type.bytes();
        let expected = rows.saturating_mul(row_bytes);
        if bytes.len() != expected {
            return Err(QuantError::Length {
                expected,
                found: bytes.len(),
            });
        }
        let (packed, dtype, scales) = if reads_ggml(device) {
            let data = TensorData::from_bytes(bytes, [rows, row_bytes], DType::U8);
            (data, DType::U8, Vec::new())
        } else {
            let layout = DeviceLayout::of(block_type);
            let (words, scales) = device::split(&bytes, block_type);
            let data = TensorData::new(words, [rows, cols / layout.per_word()]);
            (data, DType::U32, scales)
        };
        let row_scales = scales.len() / rows.max(1);
        let scales = TensorData::new(scales, [rows, row_scales]);
        Ok(Self {
            packed: Tensor::from_data(packed, (device, dtype)),
            scales: Tensor::from_data(scales, (device, DType::F32)),
            block_type,
            shape,
            input_bits: InputBits::default(),
        })
    }

    /// The same weight, whose products round their inputs like this on the CPU.
    pub fn with_input_bits(self, input_bits: InputBits) -> Self {
        Self { input_bits, ..self }
    }

    /// `[rows (out), cols (in)]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// How the values are packed.
    pub fn block_type(&self) -> BlockType {
        self.block_type
    }

    /// `packed` and `scales`.
    #[cfg(test)]
    pub(crate) fn arrays(&self) -> (Tensor<2, Int>, Tensor<2>) {
        (self.packed.clone(), self.scales.clone())
    }

    /// Where the blocks are.
    pub fn device(&self) -> Device {
        self.packed.device()
    }

    /// The whole weight, `[rows, cols]` f32.
    pub fn dequantize(&self) -> Tensor<2> {
        dequantize(self.packed.clone(), self.scales.clone(), self.block_type)
    }

    /// The given rows, `[n, cols]` f32: an embedding look-up that leaves the table packed.
    pub fn select(&self, rows: Tensor<1, Int>) -> Tensor<2> {
        let packed = self.packed.clone().select(0, rows.clone());
        let scales = match self.scales.dims()[1] {
            0 => self.scales.clone(),
            _ => self.scales.clone().select(0, rows),
        };
        dequantize(packed, scales, self.block_type)
    }
}

/// True for the CPU, whose kernels read a file's blocks.
fn reads_ggml(device: &Device) -> bool {
    matches!(
        device.clone().inner().as_dispatch(),
        DispatchDevice::Flex(_)
    )
}

fn dequantize(packed: Tensor<2, Int>, scales: Tensor<2>, block_type: BlockType) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as KernelOps>::dequantize_blocks(
        packed.into_dispatch(),
        scales.into_dispatch(),
        block_type,
    ))
}

/// `x [m, cols]` f32 times the weight transposed, plus `bias [rows]`: `[m, rows]`.
///
/// Differentiable with respect to `x` and `bias`; the weight is a constant.
///
/// # Panics
/// When `x` does not have the weight's number of columns, or is not f32.
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
            <Dispatch as KernelOps>::matmul_blocks_bias(
                x,
                packed,
                scales,
                bias,
                weight.block_type,
                weight.input_bits,
            )
        }
        None => <Dispatch as KernelOps>::matmul_blocks(
            x,
            packed,
            scales,
            weight.block_type,
            weight.input_bits,
        ),
    })
}

/// The reference made of burn operations, for [`device`]'s arrays: right on every backend.
pub(crate) fn composed_dequantize<B: Backend>(
    words: IntTensor<B>,
    scales: FloatTensor<B>,
    block_type: BlockType,
) -> FloatTensor<B> {
    let layout = DeviceLayout::of(block_type);
    let (rows, row_words) = (words.shape()[0], words.shape()[1]);
    let cols = row_words * layout.per_word();
    // Element e of a group of nibbles is in word `e % 16 / 4`, byte `e % 4`, half `e / 16`; of a
    // group of bytes in word `e / 4`, byte `e % 4`.
    let (halves, mask, words_apart) = match layout.nibbles {
        true => (2, 0x0f_u32, GROUP / layout.per_word()),
        false => (1, 0xff, 1),
    };
    let shifts: Vec<u32> = (0..halves)
        .flat_map(|half| (0..4).map(move |byte| 8 * byte + 4 * half))
        .collect();
    let parts = rows * row_words / words_apart;
    let expanded = Shape::new([parts, halves as usize, words_apart, 4]);

    let device = words.device();
    let shifts = TensorData::new(shifts, [1, halves as usize, 1, 4]);
    let shifts = B::int_expand(B::int_from_data(shifts, &device), expanded.clone());
    let words = B::int_reshape(words, Shape::new([parts, 1, words_apart, 1]));
    let values = B::bitwise_right_shift(B::int_expand(words, expanded), shifts);
    let values = B::bitwise_and_scalar(values, mask.into());
    // Two's complement as an offset: the sign bit flipped, then subtracted again.
    let (values, zero) = match layout.nibbles {
        true => (values, f32::from(layout.zero)),
        false => (B::bitwise_xor_scalar(values, 128_u32.into()), 128.0),
    };
    let values = B::int_into_float(values, scales.dtype().into());
    let values = B::float_sub_scalar(values, zero.into());

    let groups = rows * cols / layout.group;
    let values = B::float_reshape(values, Shape::new([groups, layout.group]));
    let scales = B::float_reshape(scales, Shape::new([groups, layout.per_group()]));
    let column = |index: usize| {
        let all = burn::tensor::Slice::from(0..groups);
        let one = burn::tensor::Slice::from(index..index + 1);
        B::float_slice(scales.clone(), &[all, one])
    };
    let values = B::float_mul(values, column(0));
    let values = match layout.offsets {
        true => B::float_add(values, column(1)),
        false => values,
    };
    B::float_reshape(values, Shape::new([rows, cols]))
}
