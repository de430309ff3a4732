//! bitsandbytes' numbers of four bits, NF4 and FP4: sixteen values, times the largest magnitude of
//! a block.
//!
//! Source: `dequantize_4bit` and `dequantize_blockwise` of bitsandbytes, `kDequantizeBlockwise` of
//! its kernels: a product in f32, then rounded to the type that the state names. The magnitudes may
//! be numbers of 8 bits themselves (double quantization): 256 values, times the largest of a block
//! of those, and an offset.

use std::ops::Range;

use x2i_shaders::BlockType;

use crate::error::Result;
use crate::weights::file::WeightFile;
use crate::weights::place::Place;

/// `map[number] * absmax`, the higher half of each byte first.
#[derive(Debug)]
pub(in crate::weights) struct FourBit {
    pub(in crate::weights) numbers: Place,
    /// `[16]`
    pub(in crate::weights) map: Place,
    /// Numbers of a block.
    pub(in crate::weights) block: u64,
    pub(in crate::weights) absmax: Absmax,
    /// The blocks that products take, where they know the map and no block of 32 numbers has two
    /// magnitudes.
    pub(in crate::weights) products: Option<BlockType>,
}

/// The largest magnitude of each block.
#[derive(Debug)]
pub(in crate::weights) struct Absmax {
    pub(in crate::weights) values: Place,
    pub(in crate::weights) nested: Option<Nested>,
}

/// What makes magnitudes of numbers of 8 bits: `map[number] * absmax + offset`.
#[derive(Debug)]
pub(in crate::weights) struct Nested {
    /// `[256]`
    pub(in crate::weights) map: Place,
    pub(in crate::weights) absmax: Place,
    /// Magnitudes of a block.
    pub(in crate::weights) block: u64,
    pub(in crate::weights) offset: f32,
}

impl FourBit {
    pub(super) async fn read(
        &self,
        files: &[WeightFile],
        elements: Range<u64>,
    ) -> Result<Vec<f32>> {
        let mut map = self.map.all(files).await?;
        // FP4's highest bit is its sign, which the kernels give a zero, too; the stored map has 0.0.
        if map[8] == 0.0 {
            map[8] = -0.0;
        }
        let blocks = elements.start / self.block..elements.end.div_ceil(self.block);
        let absmax = self.absmax.read(files, blocks).await?;
        let bytes = elements.start / 2..elements.end.div_ceil(2);
        let pairs = self.numbers.bytes(files, bytes).await?;
        let mut values = Vec::with_capacity(2 * pairs.len());
        for pair in pairs.iter() {
            values.extend([pair >> 4, pair & 0x0f].map(|number| map[usize::from(number)]));
        }
        values.truncate((elements.start % 2 + elements.end - elements.start) as usize);
        values.drain(..(elements.start % 2) as usize);
        let (mut start, mut rest) = (elements.start, values.as_mut_slice());
        for absmax in absmax {
            let in_block = (self.block - start % self.block).min(elements.end - start);
            let (block, later) = rest.split_at_mut(in_block as usize);
            block.iter_mut().for_each(|value| *value *= absmax);
            (start, rest) = (start + in_block, later);
        }
        Ok(values)
    }

    /// Appends a run of the numbers in [`products`](Self::products)' blocks of 32, which begin with their f32
    /// magnitude. The run is whole blocks.
    pub(super) async fn push_blocks(
        &self,
        files: &[WeightFile],
        elements: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let blocks = elements.start / self.block..elements.end.div_ceil(self.block);
        let absmax = self.absmax.read(files, blocks.clone()).await?;
        let bytes = elements.start / 2..elements.end / 2;
        let pairs = self.numbers.bytes(files, bytes).await?;
        for (pairs, start) in pairs.as_chunks::<16>().0.iter().zip(elements.step_by(32)) {
            let absmax = absmax[(start / self.block - blocks.start) as usize];
            out.extend(absmax.to_le_bytes());
            let number = |at: usize| pairs[at / 2] >> (4 - at % 2 * 4) & 0x0f;
            out.extend((0..16).map(|at| number(at) | number(at + 16) << 4));
        }
        Ok(())
    }

    pub(super) fn places(&self) -> Vec<&Place> {
        let mut places = vec![&self.numbers, &self.map, &self.absmax.values];
        if let Some(nested) = &self.absmax.nested {
            places.extend([&nested.map, &nested.absmax]);
        }
        places
    }
}

impl Absmax {
    async fn read(&self, files: &[WeightFile], blocks: Range<u64>) -> Result<Vec<f32>> {
        let Some(nested) = &self.nested else {
            return self.values.values(files, blocks).await;
        };
        let map = nested.map.all(files).await?;
        let outer = blocks.start / nested.block..blocks.end.div_ceil(nested.block);
        let absmax = nested.absmax.values(files, outer.clone()).await?;
        let numbers = self.values.bytes(files, blocks.clone()).await?;
        let values = blocks.zip(numbers.iter()).map(|(block, &number)| {
            let absmax = absmax[(block / nested.block - outer.start) as usize];
            map[usize::from(number)] * absmax + nested.offset
        });
        Ok(values.collect())
    }
}
