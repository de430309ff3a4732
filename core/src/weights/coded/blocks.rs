//! Weights of whole numbers, repacked to the blocks that products read.
//!
//! A weight is `(number - zero) * scale`, as its library's formula says before it rounds the product to f16
//! or bf16: blocks do not round it. They are made where a group of a row that shares a scale is whole blocks
//! of 32 numbers; other weights are dense. Left out: the formulas' own floats, which are for all else.

use x2i_shaders::BlockType;

/// Numbers of a block.
pub(super) const BLOCK: usize = 32;

/// Numbers of 4 or 8 bits, with or without a zero point of their own.
pub(super) fn format(bits: u32, has_zeros: bool) -> Option<BlockType> {
    match (bits, has_zeros) {
        (4, false) => Some(BlockType::Int4),
        (4, true) => Some(BlockType::Int4Zero),
        (8, false) => Some(BlockType::Int8),
        (8, true) => Some(BlockType::Int8Zero),
        _ => None,
    }
}

/// True where the numbers of a row that share a scale are whole blocks.
pub(super) fn is_whole(group: usize, columns: usize) -> bool {
    group > 0 && group.is_multiple_of(BLOCK) && columns.is_multiple_of(group)
}

/// Appends a row of unsigned numbers as blocks; `factors` gives the scale and the zero point of the number
/// at a column.
pub(super) fn push_row(
    block_type: BlockType,
    numbers: &[u8],
    factors: impl Fn(usize) -> (f32, u8),
    blocks: &mut Vec<u8>,
) {
    for (index, numbers) in numbers.as_chunks::<BLOCK>().0.iter().enumerate() {
        let (scale, zero) = factors(index * BLOCK);
        block_type.push_scaled(numbers, scale, zero, blocks);
    }
}
