//! The layout of a block-quantized weight on a device that is not the CPU: an array of words and one of scales.
//!
//! A GPU reads aligned words, but ggml's blocks have odd sizes and f16 scales between their quants. Here
//! quants of four bits are nibbles in ggml's order, or places in a [`Table`], all others are bytes, and scales
//! and offsets are f32. A group has 32 weights; in Q6_K and in our own `Int8Halves` it has 16, as many as
//! share a scale there. Of floats of 8 and 16 bits a row has a scale.

use x2i_cpu::formats::{
    BlockType, GROUP, Group, MOST_GROUPS, Table, int8_halves_group, part, q6_k_group, q6_k_scale,
    scale,
};

/// Bytes of `elements` weights on a device that is not the CPU: packed quants and f32 scales, without the
/// [scales of rows](BlockType::has_row_scales).
///
/// `elements` is a multiple of the format's [`len`](BlockType::len).
pub const fn device_len(block_type: BlockType, elements: u64) -> u64 {
    DeviceLayout::of(block_type).len(elements)
}

/// Bytes of the packed quants alone, which are the largest of a weight's buffers there.
pub const fn words_len(block_type: BlockType, elements: u64) -> u64 {
    4 * (elements / DeviceLayout::of(block_type).per_word() as u64)
}

/// What a kernel needs to know about the arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct DeviceLayout {
    /// True for nibbles, of which the low ones are the first 16 weights of a group; false for signed bytes.
    pub(crate) nibbles: bool,
    /// The zero point of a nibble, which is subtracted.
    pub(crate) zero: u8,
    /// The table that nibbles are places of.
    pub(crate) table: Option<Table>,
    /// True where a group has an offset after its scale.
    pub(crate) offsets: bool,
    /// Weights that share a scale.
    pub(crate) group: usize,
    /// The bits of exponent of a float of 8 or 16 bits; 0 for a signed byte. A row of floats has one scale.
    pub(crate) exponent: u8,
    /// True for floats of 16 bits.
    pub(crate) halves: bool,
}

impl DeviceLayout {
    /// The layout of a format.
    pub(crate) const fn of(block_type: BlockType) -> Self {
        Self {
            nibbles: matches!(
                block_type,
                BlockType::Q4_0
                    | BlockType::Q4_1
                    | BlockType::Q4K
                    | BlockType::IQ4NL
                    | BlockType::IQ4XS
                    | BlockType::MXFP4
                    | BlockType::NF4
                    | BlockType::FP4
                    | BlockType::Int4
                    | BlockType::Int4Zero
            ),
            zero: if matches!(block_type, BlockType::Q4_0 | BlockType::Int4) {
                8
            } else {
                0
            },
            table: match block_type {
                BlockType::IQ4NL | BlockType::IQ4XS => Some(Table::Iq4),
                BlockType::MXFP4 => Some(Table::Fp4),
                BlockType::NF4 => Some(Table::Nf4),
                BlockType::FP4 => Some(Table::BnbFp4),
                _ => None,
            },
            offsets: block_type.has_offsets(),
            group: if matches!(block_type, BlockType::Q6K | BlockType::Int8Halves) {
                16
            } else {
                GROUP
            },
            exponent: match block_type {
                BlockType::F8E4M3 => 4,
                BlockType::F8E5M2 | BlockType::F16 => 5,
                BlockType::BF16 => 8,
                _ => 0,
            },
            halves: matches!(block_type, BlockType::F16 | BlockType::BF16),
        }
    }

    /// True where a row has one scale, which its sums take.
    pub(crate) const fn row_scales(self) -> bool {
        self.exponent > 0
    }

    /// All layouts, each once.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let layouts = BlockType::ALL.map(Self::of).into_iter().enumerate();
        layouts.filter_map(|(index, layout)| {
            let mut earlier = BlockType::ALL[..index].iter().map(|&other| Self::of(other));
            (!earlier.any(|other| other == layout)).then_some(layout)
        })
    }

    /// Weights in a word.
    pub(crate) const fn per_word(self) -> usize {
        match self {
            Self { nibbles: true, .. } => 8,
            Self { halves: true, .. } => 2,
            _ => 4,
        }
    }

    /// Bytes of both arrays for a number of weights, without scales of rows.
    pub(crate) const fn len(self, elements: u64) -> u64 {
        let words = elements / self.per_word() as u64;
        let scales = match self.row_scales() {
            true => 0,
            false => elements / self.group as u64 * self.per_group() as u64,
        };
        4 * (words + scales)
    }

    /// Values of a group in the array of scales.
    pub(crate) const fn per_group(self) -> usize {
        if self.offsets { 2 } else { 1 }
    }
}

/// The words and the scales of blocks. Floats of 8 and 16 bits are words as they are, without a scale.
pub(crate) fn split(blocks: &[u8], block_type: BlockType) -> (Vec<u32>, Vec<f32>) {
    match block_type {
        _ if block_type.has_row_scales() => (words(blocks).collect(), Vec::new()),
        BlockType::NF4 | BlockType::FP4 => split_floats(blocks, block_type),
        BlockType::Q6K | BlockType::Int8Halves => split_halves(blocks, block_type),
        _ => split_groups(blocks, block_type),
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let words = bytes.as_chunks().0.iter();
    words.map(|&word| u32::from_le_bytes(word))
}

/// Of floats of 4 bits, a block is a scale and its nibbles.
fn split_floats(blocks: &[u8], block_type: BlockType) -> (Vec<u32>, Vec<f32>) {
    let (mut nibbles, mut scales) = (Vec::new(), Vec::new());
    for (at, word) in words(blocks).enumerate() {
        match at % (block_type.bytes() / 4) {
            0 => scales.push(f32::from_bits(word)),
            _ => nibbles.push(word),
        }
    }
    (nibbles, scales)
}

/// Space for the words and the scales of blocks.
fn space(blocks: &[u8], block_type: BlockType) -> (Vec<u32>, Vec<f32>) {
    let layout = DeviceLayout::of(block_type);
    let count = blocks.len() / block_type.bytes() * block_type.len();
    (
        Vec::with_capacity(count / layout.per_word()),
        Vec::with_capacity(count / layout.group * layout.per_group()),
    )
}

/// Blocks whose groups have two factors of the block's scale.
fn split_halves(blocks: &[u8], block_type: BlockType) -> (Vec<u32>, Vec<f32>) {
    let layout = DeviceLayout::of(block_type);
    let (mut words, mut scales) = space(blocks, block_type);
    let mut push = |(quants, factors): ([i16; GROUP], [i8; 2]), scale: f32| {
        words.extend(pack(&quants, layout, None));
        scales.extend(factors.map(|factor| scale * f32::from(factor)));
    };
    for block in blocks.chunks_exact(block_type.bytes()) {
        match block_type {
            BlockType::Q6K => {
                let block = part(block, 0);
                for index in 0..block_type.groups() {
                    push(q6_k_group(block, index), q6_k_scale(block));
                }
            }
            _ => push(int8_halves_group(part(block, 0)), scale(block)),
        }
    }
    (words, scales)
}

/// Blocks whose groups have a scale, and perhaps an offset.
fn split_groups(blocks: &[u8], block_type: BlockType) -> (Vec<u32>, Vec<f32>) {
    let layout = DeviceLayout::of(block_type);
    let (mut words, mut scales) = space(blocks, block_type);
    let places = layout.table.map(Table::places);
    let mut groups = [Group::<i16>::ZERO; MOST_GROUPS];
    let groups = &mut groups[..block_type.groups()];
    for block in blocks.chunks_exact(block_type.bytes()) {
        block_type.unpack(block, groups);
        for group in &*groups {
            words.extend(pack(&group.quants, layout, places.as_ref()));
            scales.push(group.scale);
            scales.extend(layout.offsets.then_some(group.offset));
        }
    }
    (words, scales)
}

/// The words of a group; `places` are those of the layout's table.
fn pack(
    quants: &[i16; GROUP],
    layout: DeviceLayout,
    places: Option<&[u8; 256]>,
) -> impl Iterator<Item = u32> + use<> {
    let mut bytes = quants.map(|quant| match places {
        Some(places) => places[usize::from(quant as u8)],
        None => (quant + i16::from(layout.zero)) as u8,
    });
    if layout.nibbles {
        let (low, high) = bytes.split_at_mut(GROUP / 2);
        low.iter_mut()
            .zip(high)
            .for_each(|(low, high)| *low |= *high << 4);
    }
    (0..GROUP / layout.per_word())
        .map(move |word| u32::from_le_bytes(std::array::from_fn(|i| bytes[4 * word + i])))
}
