//! How a tensor's numbers are stored, and where.
//!
//! The plain types are those of safetensors and PyTorch; the block types are ggml's. Left out: `NVFP4`,
//! whose tensors need a scale beside them, and types that ggml has given up.

use std::fmt;

use x2i_shaders::BlockType;

use super::target::Target;

/// The type of a tensor's stored numbers. Block types hold runs of [`block_len`](Self::block_len)
/// numbers of a row together with their scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are ggml's and PyTorch's own")]
pub enum StoredType {
    F64,
    F32,
    F16,
    BF16,
    /// 4 bits of exponent, 3 of mantissa, no infinities (`float8_e4m3fn`).
    F8E4M3,
    /// 5 bits of exponent, 2 of mantissa: the upper half of an f16.
    F8E5M2,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8_1,
    Q8K,
    IQ4NL,
    IQ4XS,
    IQ3S,
    IQ3XXS,
    IQ2S,
    IQ2XS,
    IQ2XXS,
    IQ1M,
    IQ1S,
    TQ2_0,
    TQ1_0,
    MXFP4,
}

impl StoredType {
    /// How many numbers one block holds; 1 for the plain types.
    pub fn block_len(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q8_1 | Self::IQ4NL | Self::MXFP4 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::Q8K => 256,
            Self::IQ4XS | Self::IQ3S | Self::IQ3XXS | Self::IQ2S | Self::IQ2XS => 256,
            Self::IQ2XXS | Self::IQ1M | Self::IQ1S | Self::TQ2_0 | Self::TQ1_0 => 256,
            _ => 1,
        }
    }

    /// How many bytes one block takes; the number's own size for the plain types.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Q8_1 => 36,
            Self::Q8K => 292,
            Self::IQ4NL => 18,
            Self::IQ4XS => 136,
            Self::IQ3S => 110,
            Self::IQ3XXS => 98,
            Self::IQ2S => 82,
            Self::IQ2XS => 74,
            Self::IQ2XXS => 66,
            Self::IQ1M => 56,
            Self::IQ1S => 50,
            Self::TQ2_0 => 66,
            Self::TQ1_0 => 54,
            Self::MXFP4 => 17,
        }
    }

    /// True for ggml's block types.
    pub fn is_block(self) -> bool {
        self.block_len() > 1
    }

    /// Floats of 16 bits.
    pub fn is_half(self) -> bool {
        matches!(self, Self::F16 | Self::BF16)
    }

    /// Whole numbers, and true and false.
    pub fn is_whole(self) -> bool {
        use StoredType::{Bool, I8, I16, I32, I64, U8, U16, U32, U64};
        matches!(self, Bool | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
    }

    /// Floats of 8 bits. Each is exactly an f16.
    pub fn is_fp8(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2)
    }

    /// The blocks that products read as they are; `None` for what is widened on reading.
    pub fn block_type(self) -> Option<BlockType> {
        Some(match self {
            Self::Q4_0 => BlockType::Q4_0,
            Self::Q4_1 => BlockType::Q4_1,
            Self::Q5_0 => BlockType::Q5_0,
            Self::Q5_1 => BlockType::Q5_1,
            Self::Q8_0 => BlockType::Q8_0,
            Self::Q4K => BlockType::Q4K,
            Self::Q5K => BlockType::Q5K,
            Self::Q6K => BlockType::Q6K,
            Self::IQ4NL => BlockType::IQ4NL,
            Self::IQ4XS => BlockType::IQ4XS,
            Self::MXFP4 => BlockType::MXFP4,
            _ => return None,
        })
    }

    /// The blocks of our own that types of 1 to 3 bits are repacked to: 8 bits hold their numbers exactly.
    fn repacked(self) -> Option<BlockType> {
        match self {
            Self::IQ3S | Self::IQ3XXS | Self::IQ2XXS | Self::IQ1S => Some(BlockType::Int8),
            Self::TQ1_0 | Self::TQ2_0 => Some(BlockType::Int8),
            Self::Q3K | Self::IQ2S | Self::IQ2XS | Self::IQ1M => Some(BlockType::Int8Halves),
            _ => None,
        }
    }

    /// The blocks in which a device takes a matrix of this shape: those of the type, floats of 8 bits, or those
    /// that it is repacked to. `None` where rows are no whole blocks, and for what a device takes as floats of
    /// 16 or 32 bits.
    pub(super) fn as_blocks(self, shape: &[usize], target: Target) -> Option<BlockType> {
        let block_type = match self {
            // A CPU has products of its own for these.
            Self::F16 if target == Target::Gpu => BlockType::F16,
            Self::BF16 if target == Target::Gpu => BlockType::BF16,
            Self::F8E4M3 => BlockType::F8E4M3,
            Self::F8E5M2 => BlockType::F8E5M2,
            other => other.block_type().or_else(|| other.repacked())?,
        };
        match *shape {
            [_, cols] if cols.is_multiple_of(block_type.len()) => Some(block_type),
            _ => None,
        }
    }

    /// The bytes of a contiguous tensor of `shape`, or `None` when that overflows, or when a row
    /// does not divide into blocks.
    pub fn byte_len(self, shape: &[usize]) -> Option<u64> {
        let count = element_count(shape)?;
        if self.is_block() {
            let row = *shape.last()?;
            if row % self.block_len() != 0 {
                return None;
            }
        }
        (count / self.block_len() as u64).checked_mul(self.block_bytes() as u64)
    }
}

impl fmt::Display for StoredType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E5M2 => "F8_E5M2",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Q8K => "Q8_K",
            Self::IQ4NL => "IQ4_NL",
            Self::IQ4XS => "IQ4_XS",
            Self::IQ3S => "IQ3_S",
            Self::IQ3XXS => "IQ3_XXS",
            Self::IQ2S => "IQ2_S",
            Self::IQ2XS => "IQ2_XS",
            Self::IQ2XXS => "IQ2_XXS",
            Self::IQ1M => "IQ1_M",
            Self::IQ1S => "IQ1_S",
            plain => return fmt::Debug::fmt(plain, f),
        };
        f.pad(name)
    }
}

/// The product of `shape`, unless it overflows; also refused is one that only a zero saves.
pub(super) fn element_count(shape: &[usize]) -> Option<u64> {
    let mut sizes = shape.iter().map(|&size| size.max(1) as u64);
    let count = sizes.try_fold(1, u64::checked_mul)?;
    Some(if shape.contains(&0) { 0 } else { count })
}

/// One tensor of a weight file's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The type of its stored numbers.
    pub stored: StoredType,
    /// Its shape in PyTorch's order, rows first; `[]` for a single number.
    pub shape: Vec<usize>,
    /// Where its first byte is, from the start of the file.
    pub offset: u64,
    /// Steps in elements per axis when the tensor is a view that is not contiguous (pickles only).
    pub strides: Option<Vec<usize>>,
}

impl TensorInfo {
    /// How many numbers it holds.
    pub fn elements(&self) -> u64 {
        element_count(&self.shape).unwrap_or(u64::MAX)
    }

    /// How many bytes it takes in the file, if contiguous, and in memory after reading.
    pub fn byte_len(&self) -> u64 {
        self.stored.byte_len(&self.shape).unwrap_or(u64::MAX)
    }
}
