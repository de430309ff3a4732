//! Dequantizing made of burn operations, from the arrays that [`device`](super::device) describes: correct on
//! every backend.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{FloatDType, Shape, Slice, TensorData};
use half::{bf16, f16};

use super::device::DeviceLayout;
use x2i_cpu::formats::BlockType;
use x2i_cpu::formats::GROUP;
use x2i_cpu::formats::floats;

/// The weight `[rows, cols]`, f32, from `words [rows, words of a row]` and `scales [rows, scales of a row]`.
pub(crate) fn dequantize_blocks<B: Backend>(
    words: IntTensor<B>,
    scales: FloatTensor<B>,
    block_type: BlockType,
) -> FloatTensor<B> {
    let layout = DeviceLayout::of(block_type);
    let (rows, row_words) = (words.shape()[0], words.shape()[1]);
    let cols = row_words * layout.per_word();
    let values = values::<B>(words, layout, scales.dtype().into());
    let groups = match layout.row_scales() {
        true => rows,
        false => rows * cols / layout.group,
    };
    let values = B::float_reshape(values, Shape::new([groups, rows * cols / groups.max(1)]));
    let scales = B::float_reshape(scales, Shape::new([groups, layout.per_group()]));
    let column = |index: usize| {
        let all = Slice::from(0..groups);
        let one = Slice::from(index..index + 1);
        B::float_slice(scales.clone(), &[all, one])
    };
    let values = B::float_mul(values, column(0));
    let values = match layout.offsets {
        true => B::float_add(values, column(1)),
        false => values,
    };
    B::float_reshape(values, Shape::new([rows, cols]))
}

/// What the words hold, without a scale.
fn values<B: Backend>(
    words: IntTensor<B>,
    layout: DeviceLayout,
    dtype: FloatDType,
) -> FloatTensor<B> {
    let (rows, row_words) = (words.shape()[0], words.shape()[1]);
    // Element e of a group of nibbles is half `e / 16` of byte `e % 4` of word `e % 16 / 4`; of a group of
    // bytes it is byte `e % 4` of word `e / 4`; of floats of 16 bits half `e % 2` of word `e / 2`.
    let (halves, mask, words_apart) = match layout.nibbles {
        true => (2, 0x0f_u32, GROUP / layout.per_word()),
        false if layout.halves => (1, 0xffff, 1),
        false => (1, 0xff, 1),
    };
    let in_word: u32 = if layout.halves { 2 } else { 4 };
    let shifts: Vec<u32> = (0..halves)
        .flat_map(|half| (0..in_word).map(move |at| 32 / in_word * at + 4 * half))
        .collect();
    let parts = rows * row_words / words_apart;
    let expanded = Shape::new([parts, halves as usize, words_apart, in_word as usize]);

    let device = words.device();
    let shifts = TensorData::new(shifts, [1, halves as usize, 1, in_word as usize]);
    let shifts = B::int_expand(B::int_from_data(shifts, &device), expanded.clone());
    let words = B::int_reshape(words, Shape::new([parts, 1, words_apart, 1]));
    let values = B::bitwise_right_shift(B::int_expand(words, expanded), shifts);
    let values = B::bitwise_and_scalar(values, mask.into());
    let select = |table: &[f32]| {
        let places = B::int_reshape(values.clone(), Shape::new([values.shape().num_elements()]));
        let table = TensorData::new(table.to_vec(), [table.len()]);
        B::float_select(B::float_from_data(table, &device), 0, places)
    };
    if layout.halves {
        let all: Vec<f32> = (0..=u16::MAX)
            .map(|bits| match layout.exponent {
                8 => bf16::from_bits(bits).to_f32(),
                _ => f16::from_bits(bits).to_f32(),
            })
            .collect();
        return select(&all);
    }
    if layout.row_scales() {
        let all: [f32; 256] =
            std::array::from_fn(|byte| floats::widen(byte as u8, layout.exponent));
        return select(&all);
    }
    if let Some(table) = layout.table {
        return select(&table.values());
    }
    // A signed byte: flipping the sign bit adds 128, which is then subtracted.
    let (values, zero) = match layout.nibbles {
        true => (values, f32::from(layout.zero)),
        false => (B::bitwise_xor_scalar(values, 128_u32.into()), 128.0),
    };
    let values = B::int_into_float(values, dtype);
    B::float_sub_scalar(values, zero.into())
}
