//! Blocks to floats in one kernel of cubecl, which compiles for CUDA and for wgpu.
//!
//! It reads the arrays of a weight once and writes its numbers once; the [composed](crate::qmatmul) form writes the
//! whole weight in every step. Left out: weights of 16 bits in words, which such a device has as floats.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::cubecl::{self, calculate_cube_count_elemwise};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;

use crate::qmatmul::{DeviceLayout, composed};
use crate::wgsl;
use x2i_cpu::formats::{BlockType, floats};

/// The numbers of a word: O is f32 or bf16. `row_words` is the number of words of a row.
///
/// The places of numbers and scales are those that `qmatmul/device.rs` describes.
#[cube(launch_unchecked)]
fn expand<O: Float>(
    words: &[u32],
    scales: &[f32],
    table: &[f32],
    out: &mut [O],
    row_words: usize,
    #[comptime] layout: DeviceLayout,
    #[define(O)] _dtype: ElemType,
) {
    let at = ABSOLUTE_POS;
    if at >= words.len() {
        terminate!();
    }
    let word = words[at];
    if comptime!(layout.nibbles) {
        let group = at / 4;
        let first = group * 32 + at % 4 * 4;
        #[unroll]
        for byte in 0..4u32 {
            let low = number(word >> (8 * byte) & 15, table, layout);
            let high = number(word >> (8 * byte + 4) & 15, table, layout);
            let place = first + byte as usize;
            out[place] = O::cast_from(scaled(low, scales, group, layout));
            out[place + 16] = O::cast_from(scaled(high, scales, group, layout));
        }
    } else {
        let first = at * 4;
        let group = if comptime!(layout.row_scales()) {
            at / row_words
        } else {
            first / comptime!(layout.group)
        };
        #[unroll]
        for byte in 0..4u32 {
            let value = number(word >> (8 * byte) & 255, table, layout);
            out[first + byte as usize] = O::cast_from(scaled(value, scales, group, layout));
        }
    }
}

/// What the bits of a nibble or of a byte stand for, without a scale.
#[cube]
fn number(bits: u32, table: &[f32], #[comptime] layout: DeviceLayout) -> f32 {
    if comptime!(layout.is_listed()) {
        table[bits as usize]
    } else if comptime!(layout.nibbles) {
        f32::cast_from(bits) - comptime!(f32::from(layout.zero))
    } else {
        // A signed byte: flipping the sign bit adds 128.
        f32::cast_from(bits ^ 128) - 128.0
    }
}

#[cube]
fn scaled(value: f32, scales: &[f32], group: usize, #[comptime] layout: DeviceLayout) -> f32 {
    if comptime!(layout.offsets) {
        value * scales[group * 2] + scales[group * 2 + 1]
    } else {
        value * scales[group]
    }
}

impl DeviceLayout {
    /// True where bits are places in a table.
    fn is_listed(self) -> bool {
        self.table.is_some() || self.row_scales()
    }

    /// That table, or a zero that nothing reads.
    fn numbers(self) -> Vec<f32> {
        match self.table {
            Some(table) => table.values().to_vec(),
            None if self.row_scales() => (0..=u8::MAX)
                .map(|byte| floats::widen(byte, self.exponent))
                .collect(),
            None => vec![0.0],
        }
    }
}

/// The weight `[rows, cols]` in `dtype`, f32 or bf16, of its `words [rows, words of a row]` and scales.
pub(super) fn dequantize(
    words: CubeTensor,
    scales: CubeTensor,
    block_type: BlockType,
    dtype: DType,
) -> CubeTensor {
    let layout = DeviceLayout::of(block_type);
    let (rows, row_words) = (words.meta.shape()[0], words.meta.shape()[1]);
    let count = rows * row_words;
    if layout.halves || count == 0 {
        return cast(
            composed::dequantize_blocks::<CubeBackend>(words, scales, block_type),
            dtype,
        );
    }
    let shape = Shape::new([rows, row_words * layout.per_word()]);
    let out = wgsl::empty(&words, shape, dtype);
    let client = words.client.clone();
    let table = layout.numbers();
    let numbers = client.create_from_slice(bytemuck::cast_slice(&table));
    let threads = CubeDim::new(&client, count);
    let groups = calculate_cube_count_elemwise(&client, count, threads);
    let [words, scales, written] =
        [into_contiguous(words), into_contiguous(scales), out.clone()].map(buffer);
    // SAFETY: the buffers have the lengths that are told, and the kernel stays inside of them: threads beyond the
    // words leave, and a word's numbers and scales are those of the layout.
    unsafe {
        expand::launch_unchecked(
            &client,
            groups,
            threads,
            words,
            scales,
            BufferArg::from_raw_parts(numbers, table.len()),
            written,
            row_words,
            layout,
            match dtype {
                DType::BF16 => ElemType::Float(FloatKind::BF16),
                _ => ElemType::Float(FloatKind::F32),
            },
        );
    }
    out
}

fn buffer(tensor: CubeTensor) -> BufferArg {
    let length = tensor.meta.num_elements();
    // SAFETY: a contiguous tensor's buffer has that many elements.
    unsafe { BufferArg::from_raw_parts(tensor.handle, length) }
}
