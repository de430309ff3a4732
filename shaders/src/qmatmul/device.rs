//! How a block-quantized weight lies on a device that is not the CPU: arrays of words and of scales.
//!
//! A file's blocks have odd sizes and f16 scales in their midst; a GPU reads whole words. Quants of
//! four bits become nibbles in ggml's order, all others bytes; scales (and offsets) become f32. A
//! group has 32 weights, but 16 where ggml scales so many (Q6_K).

use super::block_type::{q6_k_group, q6_k_scale};
use super::{BlockType, GROUP, Group};

/// What a kernel has to know of the arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DeviceLayout {
    /// Nibbles, the first 16 weights low and the last 16 high; else signed bytes.
    pub(crate) nibbles: bool,
    /// Subtracted from a nibble.
    pub(crate) zero: u8,
    /// A group has a scale, then an offset; else a scale alone.
    pub(crate) offsets: bool,
    /// Weights that share a scale.
    pub(crate) group: usize,
}

impl DeviceLayout {
    /// The layout of a format.
    pub(crate) const fn of(block_type: BlockType) -> Self {
        Self {
            nibbles: matches!(
                block_type,
                BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q4K
            ),
            zero: if matches!(block_type, BlockType::Q4_0) {
                8
            } else {
                0
            },
            offsets: block_type.has_offsets(),
            group: if matches!(block_type, BlockType::Q6K) {
                16
            } else {
                GROUP
            },
        }
    }

    /// All layouts that there are.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let layouts = BlockType::ALL.map(Self::of).into_iter().enumerate();
        layouts.filter_map(|(index, layout)| {
            let mut earlier = BlockType::ALL[..index].iter().map(|&other| Self::of(other));
            (!earlier.any(|other| other == layout)).then_some(layout)
        })
    }

    /// Weights in a word.
    pub(crate) const fn per_word(self) -> usize {
        if self.nibbles { 8 } else { 4 }
    }

    /// Bytes of both arrays for so many weights.
    pub(crate) const fn len(self, elements: u64) -> u64 {
        let words = elements / self.per_word() as u64;
        let scales = elements / self.group as u64 * self.per_group() as u64;
        4 * (words + scales)
    }

    /// Numbers of a group in the array of scales.
    pub(crate) const fn per_group(self) -> usize {
        if self.offsets { 2 } else { 1 }
    }
}

/// Words and scales of blocks as a file has them.
pub(crate) fn split(blocks: &[u8], block_type: BlockType) -> (Vec<u32>, Vec<f32>) {
    let layout = DeviceLayout::of(block_type);
    let count = blocks.len() / block_type.bytes() * block_type.len();
    let mut words = Vec::with_capacity(count / layout.per_word());
    let mut scales = Vec::with_capacity(count / layout.group * layout.per_group());
    if block_type == BlockType::Q6K {
        for block in blocks.as_chunks().0 {
            for index in 0..block_type.groups() {
                let (quants, factors) = q6_k_group(block, index);
                words.extend(pack(&quants, layout));
                scales.extend(factors.map(|factor| q6_k_scale(block) * f32::from(factor)));
            }
        }
        return (words, scales);
    }
    let mut groups = [Group::<i16>::ZERO; 8]; // of the largest block
    let groups = &mut groups[..block_type.groups()];
    for block in blocks.chunks_exact(block_type.bytes()) {
        block_type.unpack(block, groups);
        for group in &*groups {
            words.extend(pack(&group.quants, layout));
            scales.push(group.scale);
            scales.extend(layout.offsets.then_some(group.offset));
        }
    }
    (words, scales)
}

fn pack(quants: &[i16; GROUP], layout: DeviceLayout) -> impl Iterator<Item = u32> {
    let mut bytes = quants.map(|quant| (quant + i16::from(layout.zero)) as u8);
    if layout.nibbles {
        let (low, high) = bytes.split_at_mut(GROUP / 2);
        low.iter_mut()
            .zip(high)
            .for_each(|(low, high)| *low |= *high << 4);
    }
    (0..GROUP / layout.per_word())
        .map(move |word| u32::from_le_bytes(std::array::from_fn(|i| bytes[4 * word + i])))
}
