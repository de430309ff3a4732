//! Weights whose numbers are made of several tensors: whole or 8-bit numbers with scales, and
//! numbers of four bits.
//!
//! Each formula computes what its own library computes, in the same order and with the same
//! rounding, and gives the floats that the library gives. Products of whole numbers with scales need no
//! floats: these weights are repacked to [`blocks`], as are floats of four bits. Left out: which tensors belong
//! together (`companions`), and floats of 8 bits, which stay as they are stored (`weights::blocks`).

mod awq;
mod blocks;
mod four_bit;
mod packed;
mod scaled;

use std::ops::Range;

use half::{bf16, f16};
use x2i_shaders::BlockType;

use super::file::WeightFile;
use super::place::Place;
use super::stored::StoredType;
use crate::error::Result;
use blocks::{BLOCK, format, is_whole};

pub(super) use awq::{Awq, PACK as AWQ_PACK};
pub(super) use four_bit::{Absmax, FourBit, Nested};
pub(super) use packed::Packed;
pub(super) use scaled::{Grid, Scaled};

/// A weight that is computed on reading.
#[derive(Debug)]
pub(super) struct Coded {
    pub(super) formula: Formula,
    /// The floats that reading gives: f32, f16 or bf16.
    pub(super) stored: StoredType,
    /// The weight's shape, rows first.
    pub(super) shape: Vec<usize>,
}

/// How the numbers are made.
#[derive(Debug)]
pub(super) enum Formula {
    Scaled(Scaled),
    FourBit(FourBit),
    Awq(Awq),
    Packed(Packed),
}

impl Coded {
    /// A run of the weight's numbers, counted in the order of its rows, as [`stored`](Self::stored).
    pub(super) async fn read(&self, files: &[WeightFile], elements: Range<u64>) -> Result<Vec<u8>> {
        if elements.is_empty() {
            return Ok(Vec::new());
        }
        let columns = self.shape[1..].iter().product::<usize>().max(1) as u64;
        let values = match &self.formula {
            Formula::Scaled(scaled) => scaled.read(files, columns, elements).await?,
            Formula::FourBit(four_bit) => four_bit.read(files, elements).await?,
            Formula::Awq(awq) => awq.read(files, columns, elements).await?,
            Formula::Packed(packed) => packed.read(files, columns, elements).await?,
        };
        Ok(match self.stored {
            StoredType::F16 => bytes(&values, |v| f16::from_f32(v).to_le_bytes()),
            StoredType::BF16 => bytes(&values, |v| bf16::from_f32(v).to_le_bytes()),
            _ => bytes(&values, f32::to_le_bytes),
        })
    }

    /// Every tensor that it is made of; the numbers come first.
    pub(super) fn places(&self) -> Vec<&Place> {
        match &self.formula {
            Formula::Scaled(scaled) => scaled.places(),
            Formula::FourBit(four_bit) => four_bit.places(),
            Formula::Awq(awq) => awq.places(),
            Formula::Packed(packed) => packed.places(),
        }
    }

    /// The blocks in which a device takes the weight; `None` where groups are no whole blocks, and for other
    /// scales and maps than products take.
    pub(super) fn as_blocks(&self, files: &[WeightFile]) -> Option<BlockType> {
        let &[_, columns] = self.shape.as_slice() else {
            return None;
        };
        match &self.formula {
            Formula::Awq(awq) => format(4, true).filter(|_| is_whole(awq.group, columns)),
            Formula::Packed(packed) => {
                let whole = is_whole(packed.group(columns), columns);
                packed.block_type().filter(|_| whole)
            }
            Formula::Scaled(scaled) => scaled.block_type(files, columns),
            Formula::FourBit(four_bit) => {
                let whole = is_whole(BLOCK, columns);
                four_bit.products.filter(|_| whole)
            }
        }
    }

    /// Some rows in the blocks that [`as_blocks`](Self::as_blocks) tells, where they are not the file's own bytes.
    pub(super) async fn blocks(
        &self,
        files: &[WeightFile],
        block_type: BlockType,
        rows: Range<u64>,
    ) -> Result<Vec<u8>> {
        let columns = self.shape[1];
        let bytes = (rows.end - rows.start) as usize * (columns / BLOCK) * block_type.bytes();
        let mut blocks = Vec::with_capacity(bytes);
        if rows.is_empty() {
            return Ok(blocks);
        }
        let (row_len, out) = (columns as u64, &mut blocks);
        match &self.formula {
            Formula::Awq(awq) => awq.push_blocks(files, columns, rows, out).await?,
            Formula::Packed(packed) => {
                let pushed = packed.push_blocks(files, block_type, row_len, rows, out);
                pushed.await?;
            }
            Formula::Scaled(scaled) => {
                let pushed = scaled.push_blocks(files, block_type, row_len, rows, out);
                pushed.await?;
            }
            Formula::FourBit(four_bit) => {
                let elements = rows.start * row_len..rows.end * row_len;
                four_bit.push_blocks(files, elements, out).await?;
            }
        }
        Ok(blocks)
    }
}

fn bytes<const N: usize>(values: &[f32], store: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| store(value)).collect()
}
