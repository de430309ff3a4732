//! The inner loop: four input rows times a panel of weight rows, over one chunk.
//!
//! Two neighbouring inner elements are a pair in one `i32`, because that is what the instructions
//! multiply and add: `pmaddwd` (AVX2), `i32x4.dot_i16x8_s` (wasm). Left out: forms for VNNI, AVX-512
//! and NEON; AVX-512 machines run the AVX2 form, ARM the portable one.

#[cfg(target_family = "wasm")]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::qmatmul::{GROUP, Group};

/// Input rows of a tile: with [`COLUMNS`] in vectors their sums fill half of the registers.
pub(super) const ROWS: usize = 4;

/// Weight rows of a tile.
pub(super) const COLUMNS: usize = if cfg!(target_family = "wasm") { 8 } else { 16 };

/// Two whole numbers of 16 bits, the first in the low half.
type Pair = i32;

/// Pairs of a group along the inner dimension.
const PAIRS: usize = GROUP / 2;

/// 32 whole numbers of each input row.
#[derive(Debug, Clone, Copy)]
pub(super) struct InputGroup {
    pairs: [[Pair; ROWS]; PAIRS],
    /// The sum of a row's numbers, for the weights' offsets.
    sums: [f32; ROWS],
}

/// 32 weights of each weight row; laid out so that no vector of pairs crosses a cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct WeightGroup {
    pairs: [[Pair; COLUMNS]; PAIRS],
    scales: [f32; COLUMNS],
    /// `None` where the format has none.
    offsets: Option<[f32; COLUMNS]>,
}

/// Rows that are interleaved together, because that many are transposed in registers.
pub(super) const TOGETHER: usize = 4;

impl InputGroup {
    pub(super) const ZERO: Self = Self {
        pairs: [[0; ROWS]; PAIRS],
        sums: [0.0; ROWS],
    };

    /// Sets all rows.
    #[inline(always)]
    pub(super) fn set(&mut self, numbers: &[[i16; GROUP]; TOGETHER]) {
        interleave(&mut self.pairs, 0, numbers);
        let sum =
            |numbers: &[i16; GROUP]| numbers.iter().map(|&n| i32::from(n)).sum::<i32>() as f32;
        self.sums = [
            sum(&numbers[0]),
            sum(&numbers[1]),
            sum(&numbers[2]),
            sum(&numbers[3]),
        ];
    }
}

impl WeightGroup {
    pub(super) const ZERO: Self = Self {
        pairs: [[0; COLUMNS]; PAIRS],
        scales: [0.0; COLUMNS],
        offsets: None,
    };

    /// Sets the rows from `first` on.
    #[inline(always)]
    pub(super) fn set(&mut self, first: usize, rows: [&Group; TOGETHER], has_offsets: bool) {
        interleave(&mut self.pairs, first, &rows.map(|row| row.quants));
        self.scales[first..][..TOGETHER].copy_from_slice(&rows.map(|row| row.scale));
        if has_offsets {
            let offsets = self.offsets.get_or_insert([0.0; COLUMNS]);
            offsets[first..][..TOGETHER].copy_from_slice(&rows.map(|row| row.offset));
        }
    }
}

/// Rows become the columns from `first` on.
#[inline(always)]
fn interleave<const W: usize>(
    pairs: &mut [[Pair; W]; PAIRS],
    first: usize,
    rows: &[[i16; GROUP]; TOGETHER],
) {
    let rows: [[Pair; PAIRS]; TOGETHER] = bytemuck::cast(*rows);
    for at in (0..PAIRS).step_by(TOGETHER) {
        for i in at..at + TOGETHER {
            let column = [rows[0][i], rows[1][i], rows[2][i], rows[3][i]];
            pairs[i][first..][..TOGETHER].copy_from_slice(&column);
        }
    }
}

// A pair's first number must lie in its low half.
const _: () = assert!(cfg!(target_endian = "little"));

/// What a tile adds up: `[input rows, weight rows]`.
pub(super) type Sums = [[f32; COLUMNS]; ROWS];

/// Adds the products of all groups, each row's times its scale, on the widest unit with a kernel.
#[inline]
pub(super) fn add_products(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    input_scales: &[f32; ROWS],
    sums: &mut Sums,
) {
    #[cfg(target_arch = "x86_64")]
    if x86::add_products(inputs, weights, input_scales, sums) {
        return;
    }
    #[cfg(target_family = "wasm")]
    return wasm::add_products(inputs, weights, input_scales, sums);
    #[cfg(not(target_family = "wasm"))]
    portable(inputs, weights, input_scales, sums);
}

/// Plain Rust, and the oracle of the others.
#[cfg_attr(target_family = "wasm", allow(dead_code, reason = "wasm has its own"))]
fn portable(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    input_scales: &[f32; ROWS],
    sums: &mut Sums,
) {
    for (row, (sums, input_scale)) in sums.iter_mut().zip(input_scales).enumerate() {
        for (column, sum) in sums.iter_mut().enumerate() {
            let group = |(inputs, weights): (&InputGroup, &WeightGroup)| {
                let pairs = inputs.pairs.iter().zip(&weights.pairs);
                let products = pairs.map(|(inputs, weights)| {
                    let (input, weight) = (inputs[row], weights[column]);
                    i32::from(input as i16) * i32::from(weight as i16)
                        + (input >> 16) * (weight >> 16)
                });
                let product = products.sum::<i32>() as f32 * weights.scales[column];
                match &weights.offsets {
                    Some(offsets) => product + inputs.sums[row] * offsets[column],
                    None => product,
                }
            };
            *sum += inputs.iter().zip(weights).map(group).sum::<f32>() * input_scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups with numbers up to these magnitudes, and with offsets.
    fn groups(input: i16, weight: i16) -> ([InputGroup; 3], [WeightGroup; 3]) {
        let (mut inputs, mut weights) = ([InputGroup::ZERO; 3], [WeightGroup::ZERO; 3]);
        let numbers = |largest: i16, seed: usize| -> [i16; GROUP] {
            std::array::from_fn(|i| match seed {
                0 => largest, // the largest sums
                _ => (i32::from(largest) * ((i * 37 + seed * 101) % 199 - 99) as i32 / 99) as i16,
            })
        };
        for (index, (inputs, weights)) in inputs.iter_mut().zip(&mut weights).enumerate() {
            inputs.set(&std::array::from_fn(|row| numbers(input, 3 * row + index)));
            for first in (0..COLUMNS).step_by(TOGETHER) {
                let rows: [Group; TOGETHER] = std::array::from_fn(|row| Group {
                    quants: numbers(weight, 5 * (first + row) + index),
                    scale: [0.5, -2.0, 1e-3][index],
                    offset: (first + row) as f32 - 3.0,
                });
                weights.set(first, rows.each_ref(), index < 2);
            }
        }
        (inputs, weights)
    }

    #[test]
    fn a_pair_keeps_both_numbers() {
        for numbers in [[0, 0], [1, -1], [-1, 1], [i16::MIN, i16::MAX], [-7, -9]] {
            let mut group = InputGroup::ZERO;
            group.set(&[std::array::from_fn(|i| numbers[i % 2]); TOGETHER]);
            let pair = group.pairs[PAIRS - 1][1];
            assert_eq!([pair as i16, (pair >> 16) as i16], numbers);
        }
    }

    #[test]
    fn vector_units_give_what_plain_rust_gives_up_to_the_largest_sums() {
        /// f32 sums of six terms in another order.
        const TOLERANCE: f32 = 1e-6;
        for [input, weight] in [
            [32_767, 128],
            [16_383, 4096],
            [-32_767, -128],
            [1, 1],
            [0, 7],
        ] {
            let (inputs, weights) = groups(input, weight);
            let scales = [0.5, 1.0, -2.0, 1e-4];
            let (mut found, mut expected) = ([[1.0; COLUMNS]; ROWS], [[1.0; COLUMNS]; ROWS]);
            add_products(&inputs, &weights, &scales, &mut found);
            portable(&inputs, &weights, &scales, &mut expected);
            let expected = expected.as_flattened();
            let largest = expected.iter().fold(0.0, |max: f32, x| max.max(x.abs()));
            for (found, expected) in found.as_flattened().iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= TOLERANCE * largest,
                    "{input} times {weight}: {found}, plain Rust has {expected}"
                );
            }
        }
    }
}
