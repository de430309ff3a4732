//! A row of blocks as f32.

use x2i_cpu::formats::floats::widen_row;
use x2i_cpu::formats::{BlockType, MOST_GROUPS};
use x2i_cpu::formats::{GROUP, Group, half, nibbles, part};

/// Writes the weights of a row, without the row's own scale.
///
/// The two commonest formats go straight from bytes to floats. Through a [`Group`] a number is stored as 16 bits and read
/// again at once in wider vectors, for which the processor waits: a product of one row takes twice as long. wasm has one
/// vector unit and needs one copy.
#[cfg_attr(not(target_family = "wasm"), inline(always))]
#[cfg_attr(target_family = "wasm", inline(never))]
pub(super) fn expand_row(row: &[u8], block_type: BlockType, out: &mut [f32]) {
    match block_type {
        BlockType::Q8_0 => expand_q8_0(row, out),
        BlockType::Q4_0 => expand_q4_0(row, out),
        _ if block_type.is_float() => widen_row(row, block_type, out),
        _ => expand_groups(row, block_type, out),
    }
}

#[inline(always)]
fn expand_q8_0(row: &[u8], out: &mut [f32]) {
    let blocks = row.as_chunks::<34>().0.iter();
    for (block, out) in blocks.zip(out.as_chunks_mut::<GROUP>().0) {
        let scale = half(block, 0);
        *out = scaled(part(block, 2), 0, scale);
    }
}

#[inline(always)]
fn expand_q4_0(row: &[u8], out: &mut [f32]) {
    let blocks = row.as_chunks::<18>().0.iter();
    for (block, out) in blocks.zip(out.as_chunks_mut::<GROUP>().0) {
        let scale = half(block, 0);
        *out = scaled(&nibbles(part(block, 2)), 8, scale);
    }
}

/// A local array, which is written as a whole, lets the compiler use vectors; `map` would be a function of its own.
#[inline(always)]
fn scaled(quants: &[u8; GROUP], zero: i8, scale: f32) -> [f32; GROUP] {
    let mut out = [0.0; GROUP];
    for (out, &quant) in out.iter_mut().zip(quants) {
        *out = scale * f32::from((quant as i8).wrapping_sub(zero));
    }
    out
}

#[inline(always)]
fn expand_groups(row: &[u8], block_type: BlockType, out: &mut [f32]) {
    let mut groups = [Group::<i16>::ZERO; MOST_GROUPS];
    let groups = &mut groups[..block_type.groups()];
    let blocks = row.chunks_exact(block_type.bytes());
    for (block, out) in blocks.zip(out.chunks_exact_mut(block_type.len())) {
        block_type.unpack(block, groups);
        for (group, out) in groups.iter().zip(out.as_chunks_mut::<GROUP>().0) {
            let Group {
                quants,
                scale,
                offset,
            } = *group;
            let mut weights = [0.0; GROUP];
            for (weight, quant) in weights.iter_mut().zip(quants) {
                *weight = scale * f32::from(quant) + offset;
            }
            *out = weights;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ways_give_what_groups_give() {
        for block_type in [BlockType::Q8_0, BlockType::Q4_0] {
            let count = 3 * block_type.bytes();
            let row: Vec<u8> = (0..count).map(|i| ((i * 7919) >> 3) as u8 & 0xbf).collect();
            let (mut found, mut expected) = (vec![1.0; 3 * GROUP], vec![2.0; 3 * GROUP]);
            expand_row(&row, block_type, &mut found);
            expand_groups(&row, block_type, &mut expected);
            assert_eq!(found, expected, "{block_type:?}");
        }
    }
}
