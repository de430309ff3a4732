//! compressed-tensors' `pack-quantized`: numbers of four or eight bits of a row in i32, the first in
//! the lowest bits, with a scale for each group of a row.
//!
//! Source: `unpack_from_int32` and `_dequantize` of compressed-tensors. Numbers and zeros are stored
//! without their sign, half of their range added; zeros are packed along the rows.

use std::ops::Range;

use x2i_shaders::BlockType;

use super::blocks::{format, push_row};
use crate::error::Result;
use crate::weights::file::WeightFile;
use crate::weights::place::Place;

/// `(number - zero) * scale`.
#[derive(Debug)]
pub(in crate::weights) struct Packed {
    /// `[out, words]`
    pub(in crate::weights) numbers: Place,
    /// `[out, groups]`
    pub(in crate::weights) scales: Place,
    /// `[out / numbers of a word, groups]`
    pub(in crate::weights) zeros: Option<Place>,
    /// 4 or 8.
    pub(in crate::weights) bits: u32,
    /// Words of a row.
    pub(in crate::weights) words: u64,
    pub(in crate::weights) groups: u64,
}

impl Packed {
    pub(super) async fn read(
        &self,
        files: &[WeightFile],
        row_len: u64,
        elements: Range<u64>,
    ) -> Result<Vec<f32>> {
        let rows = elements.start / row_len..elements.end.div_ceil(row_len);
        let part = |of: u64| rows.start * of..rows.end * of;
        let numbers = self.numbers.bytes(files, part(self.words)).await?;
        let scales = self.scales.values(files, part(self.groups)).await?;
        let zeros = match &self.zeros {
            Some(zeros) => {
                let all = 0..zeros.info(files).elements();
                Some(zeros.bytes(files, all).await?)
            }
            None => None,
        };
        let group_len = row_len.div_ceil(self.groups.max(1));
        let in_word = u64::from(32 / self.bits);
        let values = elements.map(|at| {
            let (row, column) = (at / row_len, at % row_len);
            let group = column / group_len;
            let here = row - rows.start;
            let number = self.number(&numbers, here * self.words * in_word + column);
            let zero = zeros.as_ref().map_or(1 << (self.bits - 1), |zeros| {
                let word = row / in_word * self.groups + group;
                self.number(zeros, word * in_word + row % in_word)
            });
            (number - zero) as f32 * scales[(here * self.groups + group) as usize]
        });
        Ok(values.collect())
    }

    pub(super) fn block_type(&self) -> Option<BlockType> {
        format(self.bits, self.zeros.is_some())
    }

    /// Numbers of a row that share a scale.
    pub(super) fn group(&self, columns: usize) -> usize {
        columns.div_ceil(self.groups.max(1) as usize)
    }

    /// Appends rows as blocks.
    pub(super) async fn push_blocks(
        &self,
        files: &[WeightFile],
        block_type: BlockType,
        row_len: u64,
        rows: Range<u64>,
        blocks: &mut Vec<u8>,
    ) -> Result<()> {
        let part = |of: u64| rows.start * of..rows.end * of;
        let numbers = self.numbers.bytes(files, part(self.words)).await?;
        let scales = self.scales.values(files, part(self.groups)).await?;
        let zeros = match &self.zeros {
            Some(zeros) => {
                let all = 0..zeros.info(files).elements();
                Some(zeros.bytes(files, all).await?)
            }
            None => None,
        };
        let in_word = u64::from(32 / self.bits);
        let group = self.group(row_len as usize) as u64;
        for row in rows.clone() {
            let here = row - rows.start;
            let first = here * self.words * in_word;
            let row_numbers = first..first + row_len;
            let row_numbers: Vec<u8> = row_numbers
                .map(|at| self.number(&numbers, at) as u8)
                .collect();
            let factors = |column: usize| {
                let group = column as u64 / group;
                let scale = scales[(here * self.groups + group) as usize];
                let zero = zeros.as_ref().map_or(1 << (self.bits - 1), |zeros| {
                    let word = row / in_word * self.groups + group;
                    self.number(zeros, word * in_word + row % in_word)
                });
                (scale, zero as u8)
            };
            push_row(block_type, &row_numbers, factors, blocks);
        }
        Ok(())
    }

    /// Of a run of words, the number at `index`.
    fn number(&self, words: &[u8], index: u64) -> i32 {
        match self.bits {
            4 => i32::from(words[(index / 2) as usize] >> (4 * (index % 2)) & 0x0f),
            _ => i32::from(words[index as usize]),
        }
    }

    pub(super) fn places(&self) -> Vec<&Place> {
        let places = [&self.numbers, &self.scales].into_iter();
        places.chain(&self.zeros).collect()
    }
}
