//! Inputs of 16 bits, which are nearly exact, and weights of any bits.
//!
//! Two neighbouring inner elements form a pair in one `i32`: the instructions multiply and add pairs,
//! `vpdpwssd` (VNNI), `pmaddwd` (AVX2) and `i32x4.dot_i16x8_s` (wasm). Left out: NEON; ARM runs plain Rust.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod groups;
#[cfg(target_arch = "x86_64")]
mod vnni;
#[cfg(target_family = "wasm")]
mod wasm;

use super::inputs::scale;
use super::interleave::interleave;
use super::rounding::{COLUMNS, Panels, ROWS, Rounding, Sums};
use crate::formats::{BlockType, GROUP, Group};
#[cfg(target_arch = "x86_64")]
use crate::processor::{CpuUnit, uses};
use crate::vectorize::ROUND;
use groups::{InputGroup, PAIRS, WeightGroup};

/// The rounding of inputs to up to 16 bits, for weights of one format.
pub(super) struct Words {
    /// The largest rounded input. The sum of its 32 products with the largest quant fits an i32.
    largest: f32,
    has_offsets: bool,
}

impl Words {
    pub(super) fn new(block_type: BlockType) -> Self {
        let largest = i32::MAX / (GROUP as i32 * i32::from(block_type.largest_quant()));
        Self {
            largest: largest.min(i32::from(i16::MAX)) as f32,
            has_offsets: block_type.has_offsets(),
        }
    }
}

impl Panels for Words {
    type Quant = i16;
    type WeightGroup = WeightGroup;

    const NO_WEIGHTS: WeightGroup = WeightGroup {
        pairs: [[0; COLUMNS]; PAIRS],
        scales: [0.0; COLUMNS],
        offsets: None,
    };

    #[inline(always)]
    fn pack_weights(&self, rows: [&Group; ROWS], first: usize, out: &mut WeightGroup) {
        let [a, b, c, d] = rows;
        interleave(
            &[a.quants, b.quants, c.quants, d.quants],
            first,
            &mut out.pairs,
        );
        out.scales[first..][..ROWS].copy_from_slice(&[a.scale, b.scale, c.scale, d.scale]);
        if self.has_offsets {
            let offsets = out.offsets.get_or_insert([0.0; COLUMNS]);
            offsets[first..][..ROWS].copy_from_slice(&[a.offset, b.offset, c.offset, d.offset]);
        }
    }
}

impl Rounding for Words {
    type InputGroup = InputGroup;

    const NO_INPUTS: InputGroup = InputGroup {
        pairs: [[0; ROWS]; PAIRS],
        sums: [0.0; ROWS],
    };

    #[inline(always)]
    fn pack_inputs(&self, rows: [&[f32]; ROWS], out: &mut [InputGroup]) -> [f32; ROWS] {
        let (mut scales, mut inverses) = ([0.0; ROWS], [0.0; ROWS]);
        for ((x, out), inverse) in rows.iter().zip(&mut scales).zip(&mut inverses) {
            (*out, *inverse) = scale(x, self.largest);
        }
        for (group, out) in out.iter_mut().enumerate() {
            let mut numbers = [[0i16; GROUP]; ROWS];
            for (row, (numbers, inverse)) in numbers.iter_mut().zip(inverses).enumerate() {
                let mut sum = 0;
                for (number, x) in numbers.iter_mut().zip(&rows[row][group * GROUP..]) {
                    *number = (x * inverse + ROUND).to_bits() as i16;
                    sum += i32::from(*number);
                }
                out.sums[row] = sum as f32;
            }
            interleave(&numbers, 0, &mut out.pairs);
        }
        scales
    }

    #[inline]
    fn add_products(
        &self,
        inputs: &[InputGroup],
        weights: &[WeightGroup],
        input_scales: &[f32; ROWS],
        sums: &mut Sums,
    ) {
        #[cfg(target_arch = "x86_64")]
        if uses(CpuUnit::Avx512Vnni) && vnni::add_products(inputs, weights, input_scales, sums)
            || uses(CpuUnit::Avx2) && avx2::add_products(inputs, weights, input_scales, sums)
        {
            return;
        }
        #[cfg(target_family = "wasm")]
        return wasm::vector_loop(inputs, weights, input_scales, sums);
        #[cfg(not(target_family = "wasm"))]
        portable(inputs, weights, input_scales, sums);
    }
}

/// Plain Rust: the oracle of the vector units.
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
    use super::super::rounding::{Unit, assert_units_give};
    use super::*;

    /// Groups with numbers up to these magnitudes, and with offsets.
    fn groups(input: i16, weight: i16) -> ([InputGroup; 3], [WeightGroup; 3]) {
        let (mut inputs, mut weights) = ([Words::NO_INPUTS; 3], [Words::NO_WEIGHTS; 3]);
        let numbers = |largest: i16, seed: usize| -> [i16; GROUP] {
            std::array::from_fn(|i| match seed {
                0 => largest, // the largest sums
                _ => (i32::from(largest) * ((i * 37 + seed * 101) % 199 - 99) as i32 / 99) as i16,
            })
        };
        for (index, (inputs, weights)) in inputs.iter_mut().zip(&mut weights).enumerate() {
            let rows: [_; ROWS] = std::array::from_fn(|row| numbers(input, 3 * row + index));
            interleave(&rows, 0, &mut inputs.pairs);
            let sums = rows.map(|row| row.iter().map(|&n| i32::from(n)).sum::<i32>() as f32);
            inputs.sums = sums;
            let words = Words {
                largest: 1.0,
                has_offsets: index < 2,
            };
            for first in (0..COLUMNS).step_by(ROWS) {
                let rows: [Group; ROWS] = std::array::from_fn(|row| Group {
                    quants: numbers(weight, 5 * (first + row) + index),
                    scale: [0.5, -2.0, 1e-3][index],
                    offset: (first + row) as f32 - 3.0,
                });
                words.pack_weights(rows.each_ref(), first, weights);
            }
        }
        (inputs, weights)
    }

    #[test]
    fn a_pair_keeps_both_numbers() {
        for numbers in [[0, 0], [1, -1], [-1, 1], [i16::MIN, i16::MAX], [-7, -9]] {
            let mut group = Words::NO_INPUTS;
            let row: [i16; GROUP] = std::array::from_fn(|i| numbers[i % 2]);
            interleave(&[row; ROWS], 0, &mut group.pairs);
            let pair = group.pairs[PAIRS - 1][1];
            assert_eq!([pair as i16, (pair >> 16) as i16], numbers);
        }
    }

    #[test]
    fn vector_units_give_what_plain_rust_gives_up_to_the_largest_sums() {
        for [input, weight] in [
            [32_767, 128],
            [16_383, 4096],
            [-32_767, -128],
            [1, 1],
            [0, 7],
        ] {
            let (inputs, weights) = groups(input, weight);
            let scales = [0.5, 1.0, -2.0, 1e-4];
            let mut expected = [[1.0; COLUMNS]; ROWS];
            portable(&inputs, &weights, &scales, &mut expected);
            let words = Words::new(BlockType::Q8_0);
            let units: &[Unit] = &[
                #[cfg(target_arch = "x86_64")]
                ("AVX2", &|sums| {
                    avx2::add_products(&inputs, &weights, &scales, sums)
                }),
                #[cfg(target_arch = "x86_64")]
                ("VNNI", &|sums| {
                    vnni::add_products(&inputs, &weights, &scales, sums)
                }),
                ("the chosen one", &|sums| {
                    words.add_products(&inputs, &weights, &scales, sums);
                    true
                }),
            ];
            assert_units_give(&expected, &format!("{input} times {weight}"), units);
        }
    }
}
