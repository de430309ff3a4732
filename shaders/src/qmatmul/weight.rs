//! A weight in blocks: how its arrays lie on the CPU and on other devices.

use burn::backend::DispatchDevice;
use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};

use super::device::{DeviceLayout, split};
use x2i_cpu::formats::BlockType;
use x2i_cpu::integer::InputBits;

/// Why bytes are not a block-quantized weight of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuantError {
    /// A row is not a whole number of blocks.
    Columns {
        /// Weights in a row.
        cols: usize,
        /// Weights in a block.
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

/// A weight `[rows (out), cols (in)]` that stays quantized in blocks on its device.
#[derive(Debug, Clone)]
pub struct BlockQuantized {
    /// On the CPU the blocks of the file, u8: `[rows, bytes of a row]`. Elsewhere packed quants, u32:
    /// `[rows, words of a row]`.
    pub(super) packed: Tensor<2, Int>,
    /// f32: `[rows, scales of a row]`; no columns on the CPU, where the blocks hold the scales or no row has
    /// one.
    pub(super) scales: Tensor<2>,
    pub(super) block_type: BlockType,
    pub(super) shape: [usize; 2],
    pub(super) input_bits: InputBits,
}

impl BlockQuantized {
    /// The weight of `shape` `[rows (out), cols (in)]` whose `bytes` are blocks: those of a row in order,
    /// row after row, as ggml lays them out.
    ///
    /// The CPU keeps `bytes` as they are. Other devices get a copy in words.
    ///
    /// # Errors
    /// When `shape[1]` is not a multiple of the block, or `bytes` does not have the length of `shape`.
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
            let (words, mut scales) = split(&bytes, block_type);
            if layout.row_scales() {
                scales = vec![1.0; rows];
            }
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

    /// The same weight, each row of which is multiplied with a scale. The product takes it, before the bias.
    ///
    /// # Panics
    /// When the blocks [hold their scales](BlockType::has_row_scales), or there is not one for each row.
    pub fn with_row_scales(self, scales: &[f32]) -> Self {
        assert!(
            self.block_type.has_row_scales() && scales.len() == self.shape[0],
            "{} scales for {} rows of {:?}",
            scales.len(),
            self.shape[0],
            self.block_type
        );
        let scales = TensorData::new(scales.to_vec(), [scales.len(), 1]);
        Self {
            scales: Tensor::from_data(scales, (&self.device(), DType::F32)),
            ..self
        }
    }

    /// The same weight, whose products on the CPU round their inputs to these bits.
    pub fn with_input_bits(self, input_bits: InputBits) -> Self {
        Self { input_bits, ..self }
    }

    /// `[rows (out), cols (in)]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The format of the blocks.
    pub fn block_type(&self) -> BlockType {
        self.block_type
    }

    /// The arrays `packed` and `scales`.
    #[cfg(test)]
    pub(crate) fn arrays(&self) -> (Tensor<2, Int>, Tensor<2>) {
        (self.packed.clone(), self.scales.clone())
    }

    /// The device that holds the blocks.
    pub fn device(&self) -> Device {
        self.packed.device()
    }
}

/// True for the CPU, whose kernels read the blocks of a file.
fn reads_ggml(device: &Device) -> bool {
    matches!(
        device.clone().inner().as_dispatch(),
        DispatchDevice::Flex(_)
    )
}
