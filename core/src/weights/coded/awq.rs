//! AWQ's numbers of four bits in the layout of its matrix product (`version: gemm`).
//!
//! Source: `dequantize_gemm` of AutoAWQ: `(number - zero) * scale`, rounded to f16. Tensors are
//! stored for `x @ w`, as `[in, out]`; eight numbers of a row share an i32. A zero and a scale
//! belong to a group of rows.

use std::ops::Range;

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
    /// All is read for any part of it: a row of ours is a column there.
    pub(super) async fn read(
        &self,
        files: &[WeightFile],
        row_len: u64,
        elements: Range<u64>,
    ) -> Result<Vec<f32>> {
        let numbers = words(&self.all_bytes(files, &self.numbers).await?);
        let zeros = words(&self.all_bytes(files, &self.zeros).await?);
        let scales = self.scales.all(files).await?;
        let (input, packs) = (row_len as usize, self.out / PACK);
        let rows = elements.start / row_len..elements.end.div_ceil(row_len);
        let mut values = Vec::with_capacity((rows.end - rows.start) as usize * input);
        for row in rows.clone() {
            let (pack, shift) = (row as usize / PACK, 4 * PLACES[row as usize % PACK]);
            let four_bits = |word: u32| (word >> shift & 0x0f) as i32;
            values.extend((0..input).map(|at| {
                let group = at / self.group;
                let number = four_bits(numbers[at * packs + pack]);
                let zero = four_bits(zeros[group * packs + pack]);
                (number - zero) as f32 * scales[group * self.out + row as usize]
            }));
        }
        let skipped = (elements.start - rows.start * row_len) as usize;
        values.truncate(skipped + (elements.end - elements.start) as usize);
        values.drain(..skipped);
        Ok(values)
    }

    async fn all_bytes(&self, files: &[WeightFile], place: &Place) -> Result<Vec<u8>> {
        let all = 0..place.info(files).elements();
        Ok(place.bytes(files, all).await?.into_owned())
    }

    pub(super) fn places(&self) -> Vec<&Place> {
        vec![&self.numbers, &self.zeros, &self.scales]
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.as_chunks().0.iter();
    words.map(|&word| u32::from_le_bytes(word)).collect()
}
