//! Weights whose numbers are made of several tensors: whole or 8-bit numbers with scales, and
//! numbers of four bits.
//!
//! Each formula computes what its own library computes, in the same order and with the same
//! rounding, and gives the floats that the library gives. Left out: which tensors belong together
//! (`companions`), and which weights stay as they are stored (`floats`).

mod awq;
mod four_bit;
mod packed;
mod scaled;

use std::ops::Range;

use half::{bf16, f16};

use super::file::WeightFile;
use super::place::Place;
use super::stored::StoredType;
use crate::error::Result;

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
}

fn bytes<const N: usize>(values: &[f32], store: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| store(value)).collect()
}
