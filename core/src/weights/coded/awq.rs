//! AWQ's numbers of four bits in the layout of its matrix product (`version: gemm`).
//!
//! Source: `dequantize_gemm` of AutoAWQ: `(number - zero) * scale`, rounded to f16. Tensors are
//! stored for `x @ w`, as `[in, out]`; eight numbers of a row share an i32. A zero and a scale
//! belong to a group of rows.

use std::ops::Range;

use half::f16;
use x2i_shaders::BlockType;

use super::blocks::push_row;
use crate::error::Result;
use crate::weights::file::WeightFile;
use crate::weights::place::Place;

/// Numbers in an i32.
pub(in crate::weights) const PACK: usize = 8;
/// The place of each of eight columns among an i32's halves of bytes.
const PLACES: [u32; PACK] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The three tensors of a layer.
#[derive(Debug)]
pub(in crate::weights) struct Awq {
    /// `[in, out / 8]`
    pub(in crate::weights) numbers: Place,
    /// `[in / group, out / 8]`
    pub(in crate::weights) zeros: Place,
    /// `[in / group, out]`
    pub(in crate::weights) scales: Place,
    /// Rows of a group.
    pub(in crate::weights) group: usize,
    pub(in crate::weights) out: usize,
}

impl Awq {
    /// All is read for any part of it, since a row of ours is a column there; a memory map lends it.
    pub(super) async fn read(
        &self,
        files: &[WeightFile],
        row_len: u64,
        elements: Range<u64>,
    ) -> Result<Vec<f32>> {
        let all = async |place: &Place| {
            let all = 0..place.info(files).elements();
            files[place.file].read_part(&place.name, all).await
        };
        let (numbers, zeros) = (all(&self.numbers).await?, all(&self.zeros).await?);
        let scales = all(&self.scales).await?;
        let (numbers, zeros) = (numbers.as_chunks().0, zeros.as_chunks().0);
        let scales = scales.as_chunks().0;
        let (input, packs) = (row_len as usize, self.out / PACK);
        let rows = elements.start / row_len..elements.end.div_ceil(row_len);
        let mut values = Vec::with_capacity((rows.end - rows.start) as usize * input);
        for row in rows.start as usize..rows.end as usize {
            let (pack, shift) = (row / PACK, 4 * PLACES[row % PACK]);
            let four_bits = |word: [u8; 4]| (u32::from_le_bytes(word) >> shift & 0x0f) as i32;
            for group in 0..input / self.group {
                let zero = four_bits(zeros[group * packs + pack]);
                let scale = f16::from_le_bytes(scales[group * self.out + row]).to_f32();
                let inputs = group * self.group..(group + 1) * self.group;
                values.extend(inputs.map(|at| {
                    let number = four_bits(numbers[at * packs + pack]);
                    (number - zero) as f32 * scale
                }));
            }
        }
        let skipped = (elements.start - rows.start * row_len) as usize;
        values.truncate(skipped + (elements.end - elements.start) as usize);
        values.drain(..skipped);
        Ok(values)
    }

    /// Appends rows as blocks of `Int4Zero`. Rows of a pack are unpacked together: their numbers lie far
    /// apart, and share words.
    pub(super) async fn push_blocks(
        &self,
        files: &[WeightFile],
        input: usize,
        rows: Range<u64>,
        blocks: &mut Vec<u8>,
    ) -> Result<()> {
        let all = async |place: &Place| {
            let all = 0..place.info(files).elements();
            place.bytes(files, all).await
        };
        let (numbers, zeros) = (all(&self.numbers).await?, all(&self.zeros).await?);
        let scales = all(&self.scales).await?;
        let (numbers, zeros) = (numbers.as_chunks().0, zeros.as_chunks().0);
        let scales = scales.as_chunks().0;
        let packs = self.out / PACK;
        let rows = rows.start as usize..rows.end as usize;
        let mut unpacked = vec![[0; PACK]; input];
        let mut row_numbers = vec![0; input];
        for pack in rows.start / PACK..rows.end.div_ceil(PACK) {
            for (at, unpacked) in unpacked.iter_mut().enumerate() {
                *unpacked = eight(numbers[at * packs + pack]);
            }
            for row in rows.start.max(pack * PACK)..rows.end.min((pack + 1) * PACK) {
                for (number, unpacked) in row_numbers.iter_mut().zip(&unpacked) {
                    *number = unpacked[row % PACK];
                }
                let factors = |column: usize| {
                    let group = column / self.group;
                    let scale = f16::from_le_bytes(scales[group * self.out + row]).to_f32();
                    (scale, eight(zeros[group * packs + pack])[row % PACK])
                };
                push_row(BlockType::Int4Zero, &row_numbers, factors, blocks);
            }
        }
        Ok(())
    }

    pub(super) fn places(&self) -> Vec<&Place> {
        vec![&self.numbers, &self.zeros, &self.scales]
    }
}

/// The eight numbers of a word, in the order of the columns.
fn eight(word: [u8; 4]) -> [u8; PACK] {
    let word = u32::from_le_bytes(word);
    PLACES.map(|place| (word >> (4 * place) & 0x0f) as u8)
}
