//! Numbers of 8 bits, each times a scale: FP8 as ComfyUI, transformers and compressed-tensors store
//! it, int8 as compressed-tensors and ComfyUI do, and bitsandbytes' LLM.int8.
//!
//! Sources: `TensorCoreFP8Layout.dequantize` of ComfyUI, `_dequantize` of compressed-tensors,
//! `Fp8Dequantize` of transformers, `int8_vectorwise_dequant` of bitsandbytes. Scales of inputs have
//! no part in it: they serve products of 8 bits, and the products here take floats.

use std::ops::Range;

use x2i_shaders::BlockType;

use super::blocks::{format, is_whole, push_row};
use crate::error::Result;
use crate::weights::file::WeightFile;
use crate::weights::place::Place;
use crate::weights::stored::StoredType;
use crate::weights::target::Target;

/// `(number - zero) * scale * factor`.
#[derive(Debug)]
pub(in crate::weights) struct Scaled {
    pub(in crate::weights) numbers: Place,
    pub(in crate::weights) scales: Place,
    /// Of the scales' shape.
    pub(in crate::weights) zeros: Option<Place>,
    pub(in crate::weights) grid: Grid,
    pub(in crate::weights) factor: f32,
}

/// Which scale a number takes: blocks of so many rows and columns share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::weights) struct Grid {
    rows: u64,
    columns: u64,
    /// Scales of a row of blocks.
    across: u64,
}

impl Grid {
    /// The side of DeepSeek's and transformers' blocks; the last ones of a weight may be smaller.
    const BLOCK: usize = 128;

    /// The grid of scales of one shape for a weight of another; `None` where they don't fit.
    pub(in crate::weights) fn of(weight: &[usize], scales: &[usize]) -> Option<Self> {
        let (&rows, rest) = weight.split_first()?;
        let columns = rest.iter().product::<usize>();
        let count = scales.iter().product::<usize>();
        let grid = |rows: usize, columns: usize, across: usize| {
            let [rows, columns, across] = [rows, columns, across].map(|size| size.max(1) as u64);
            Some(Self {
                rows,
                columns,
                across,
            })
        };
        match *scales {
            _ if count == 0 => None,
            _ if count == 1 => grid(rows, columns, 1),
            [first, ..] if first == rows && count == rows => grid(1, columns, 1),
            [first, across] if first == rows && columns.is_multiple_of(across.max(1)) => {
                grid(1, columns / across.max(1), across)
            }
            [down, across] => grid(side(rows, down)?, side(columns, across)?, across),
            _ => None,
        }
    }
}

/// The side of blocks of which `blocks` cover `size`. One that divides the size evenly is a power of
/// two: a size that is no multiple of its block's side never divides so.
fn side(size: usize, blocks: usize) -> Option<usize> {
    if size.div_ceil(Grid::BLOCK) == blocks {
        return Some(Grid::BLOCK);
    }
    let side = size.checked_div(blocks)?;
    (side * blocks == size && side.is_power_of_two()).then_some(side)
}

impl Scaled {
    pub(super) async fn read(
        &self,
        files: &[WeightFile],
        row_len: u64,
        elements: Range<u64>,
    ) -> Result<Vec<f32>> {
        let Grid {
            rows,
            columns,
            across,
        } = self.grid;
        let mut values = self.numbers.values(files, elements.clone()).await?;
        let first = elements.start / row_len / rows;
        let last = (elements.end - 1) / row_len / rows;
        let part = first * across..(last + 1) * across;
        let scales = self.scales.values(files, part.clone()).await?;
        let zeros = match &self.zeros {
            Some(zeros) => Some(zeros.values(files, part).await?),
            None => None,
        };
        let mut start = elements.start;
        let mut rest = values.as_mut_slice();
        while !rest.is_empty() {
            let (row, column) = (start / row_len, start % row_len);
            let block = column / columns;
            let end = ((block + 1) * columns).min(row_len);
            let run = ((end - column) as usize).min(rest.len());
            let at = ((row / rows - first) * across + block) as usize;
            let zero = zeros.as_ref().map_or(0.0, |zeros| zeros[at]);
            let (now, later) = rest.split_at_mut(run);
            for value in now {
                *value = (*value - zero) * scales[at] * self.factor;
            }
            start += run as u64;
            rest = later;
        }
        Ok(values)
    }

    /// The blocks of rows of so many numbers: whole numbers whose groups are whole blocks, or floats as they
    /// are stored, where a row has one scale and no more.
    pub(super) fn block_type(&self, files: &[WeightFile], columns: usize) -> Option<BlockType> {
        match self.numbers.info(files).stored {
            StoredType::I8 => {
                let group = columns.min(self.grid.columns as usize);
                format(8, self.zeros.is_some()).filter(|_| is_whole(group, columns))
            }
            floats if floats.is_fp8() => {
                let scales_rows = self.grid.across == 1 && self.grid.columns >= columns as u64;
                let block_type = floats.as_blocks(&[1, columns], Target::Cpu);
                block_type.filter(|_| scales_rows && self.zeros.is_none())
            }
            _ => None,
        }
    }

    /// The scales of some rows, where each has one.
    pub(in crate::weights) async fn row_scales(
        &self,
        files: &[WeightFile],
        rows: Range<u64>,
    ) -> Result<Vec<f32>> {
        let first = rows.start / self.grid.rows;
        let part = first..rows.end.div_ceil(self.grid.rows);
        let scales = self.scales.values(files, part).await?;
        let scale = |row| scales[(row / self.grid.rows - first) as usize] * self.factor;
        Ok(rows.map(scale).collect())
    }

    /// Appends rows of int8 as blocks.
    pub(super) async fn push_blocks(
        &self,
        files: &[WeightFile],
        block_type: BlockType,
        row_len: u64,
        rows: Range<u64>,
        blocks: &mut Vec<u8>,
    ) -> Result<()> {
        /// What makes an int8 unsigned.
        const HALF: u8 = 128;
        let grid = self.grid;
        let part = rows.start * row_len..rows.end * row_len;
        let numbers = self.numbers.bytes(files, part).await?;
        let first = rows.start / grid.rows;
        let part = first * grid.across..((rows.end - 1) / grid.rows + 1) * grid.across;
        let scales = self.scales.values(files, part.clone()).await?;
        let zeros = match &self.zeros {
            Some(zeros) => Some(zeros.bytes(files, part).await?),
            None => None,
        };
        for (row, numbers) in rows.zip(numbers.chunks_exact(row_len as usize)) {
            let unsigned: Vec<u8> = numbers.iter().map(|number| number ^ HALF).collect();
            let factors = |column: usize| {
                let block = column as u64 / grid.columns;
                let at = ((row / grid.rows - first) * grid.across + block) as usize;
                let zero = zeros.as_ref().map_or(0, |zeros| zeros[at]);
                (scales[at] * self.factor, zero ^ HALF)
            };
            push_row(block_type, &unsigned, factors, blocks);
        }
        Ok(())
    }

    pub(super) fn places(&self) -> Vec<&Place> {
        let places = [&self.numbers, &self.scales].into_iter();
        places.chain(&self.zeros).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(weight: &[usize], scales: &[usize]) -> Option<[u64; 3]> {
        Grid::of(weight, scales).map(|grid| [grid.rows, grid.columns, grid.across])
    }

    #[test]
    fn shapes_of_scales_tell_what_they_scale() {
        assert_eq!(grid(&[6, 8], &[]), Some([6, 8, 1]), "the tensor");
        assert_eq!(grid(&[6, 8], &[1]), Some([6, 8, 1]));
        assert_eq!(grid(&[6, 8], &[1, 1]), Some([6, 8, 1]));
        assert_eq!(grid(&[6, 8], &[6]), Some([1, 8, 1]), "its rows");
        assert_eq!(grid(&[6, 8], &[6, 1]), Some([1, 8, 1]));
        assert_eq!(grid(&[6, 8], &[6, 2]), Some([1, 4, 2]), "groups of a row");
        assert_eq!(grid(&[256, 300], &[2, 3]), Some([128, 128, 3]), "blocks");
        assert_eq!(grid(&[64, 96], &[2, 3]), Some([32, 32, 3]));
        assert_eq!(grid(&[64, 96], &[2, 2]), None, "48 is no block's side");
        assert_eq!(grid(&[6, 8], &[8]), None);
        assert_eq!(grid(&[6, 8], &[6, 0]), None);
        assert_eq!(grid(&[6, 8], &[6, 3]), None);
        assert_eq!(grid(&[6, 8], &[6, 2, 2]), None);
        assert_eq!(grid(&[6], &[6]), Some([1, 1, 1]));
    }
}
