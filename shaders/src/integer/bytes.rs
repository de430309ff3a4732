//! Inputs of 7 or 8 bits, with one scale for every [128](SPAN) of them, and weights of 4, 5 or 8 bits.
//!
//! The instructions multiply unsigned by signed bytes; therefore quants are made unsigned. VNNI adds four
//! products to a sum of 32 bits. `pmaddubsw` (AVX2) adds two products to a sum of 16 bits. With weights of 4
//! or 5 bits the sums of a whole group fit 16 bits, so that one multiplication in nine widens them; this is
//! 1.6 times as fast as [`super::words`]. With weights of 8 bits each pair is widened, and inputs have 7 bits,
//! because a pair would overflow otherwise. Left out: NEON and wasm, which use words.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
mod groups;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(target_arch = "x86_64")]
use std::ops::Range;

use super::inputs::scale;
use super::interleave::interleave;
use super::rounding::{COLUMNS, Panels, ROWS, Rounding, Sums};
#[cfg(target_arch = "x86_64")]
use super::weights::Weights;
#[cfg(target_arch = "x86_64")]
use crate::processor::{CpuUnit, uses};
use crate::qmatmul::{BlockType, GROUP, Group};
use crate::vectorize::ROUND;
use groups::{InputGroup, Widen};
pub(super) use groups::{QUADS, SPAN, WeightGroup};
#[cfg(target_arch = "x86_64")]
pub(super) use panels::{Sign, unpack as unpack_panel};

/// The instruction that multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    /// `vpdpbusd` in vectors of 512 bits.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    /// `vpdpbusd` in vectors of 256 bits.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// `vpmaddubsw`.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Instruction {
    /// That of the [processor's variant](crate::processor) that runs.
    fn of_processor() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return [
            (CpuUnit::Avx512Vnni, Self::Vnni),
            (CpuUnit::AvxVnni, Self::AvxVnni),
            (CpuUnit::Avx2, Self::Avx2),
        ]
        .into_iter()
        .find_map(|(unit, instruction)| uses(unit).then_some(instruction));
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// The largest input beside quants up to this one.
    fn largest_input(self, quant: i16) -> i16 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                let products = match Widen::of(quant) {
                    Widen::Group => GROUP as i16 / 2,
                    Widen::Pair => 2,
                };
                (i16::MAX / (products * quant)).min(i16::from(i8::MAX))
            }
            #[cfg(target_arch = "x86_64")]
            Self::Vnni | Self::AvxVnni => i16::from(i8::MAX),
        }
    }
}

impl Widen {
    /// For quants up to this one.
    fn of(quant: i16) -> Self {
        match quant {
            0..=31 => Self::Group,
            _ => Self::Pair,
        }
    }
}

/// The largest quant as a format stores it. `None` for Q6_K and `Int8Halves`, whose quants contain their scales and do
/// not fit a byte, and for floats.
pub(super) fn largest_quant(block_type: BlockType) -> Option<i16> {
    match block_type {
        BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q4K => Some(15),
        BlockType::Int4 | BlockType::Int4Zero => Some(15),
        BlockType::Q5_0 | BlockType::Q5_1 | BlockType::Q5K => Some(31),
        BlockType::MXFP4 => Some(24),
        BlockType::IQ4NL | BlockType::IQ4XS => Some(241),
        BlockType::Q8_0 | BlockType::Int8 | BlockType::Int8Zero => Some(255),
        BlockType::Q6K | BlockType::Int8Halves => None,
        BlockType::F8E4M3 | BlockType::F8E5M2 | BlockType::NF4 | BlockType::FP4 => None,
        BlockType::F16 | BlockType::BF16 => None,
    }
}

/// The rounding of inputs to up to 8 bits, for weights of one format.
pub(super) struct Bytes {
    /// The largest rounded input. Sums of products in an i16 fit until they are widened.
    largest: f32,
    /// The zero point: what unsigned quants are too large by.
    zero: u8,
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "plain Rust adds offsets of 0")
    )]
    has_offsets: bool,
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "plain Rust sums in 32 bits")
    )]
    widen: Widen,
    /// `None` for plain Rust, in tests.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "there is none")
    )]
    instruction: Option<Instruction>,
}

impl Bytes {
    /// `None` for a format whose quants do not fit a byte, and on a machine without such an instruction.
    pub(super) fn new(block_type: BlockType) -> Option<Self> {
        let quant = largest_quant(block_type)?;
        let instruction = Instruction::of_processor()?;
        Some(Self {
            largest: f32::from(instruction.largest_input(quant)),
            zero: block_type.zero(),
            has_offsets: block_type.has_offsets(),
            widen: Widen::of(quant),
            instruction: Some(instruction),
        })
    }
}

/// An empty group, which packing fills.
pub(super) const NO_WEIGHTS: WeightGroup = WeightGroup {
    quads: [[0; COLUMNS]; QUADS],
    scales: [0.0; COLUMNS],
    offsets: [0.0; COLUMNS],
};

impl Panels for Bytes {
    type Quant = u8;
    type WeightGroup = WeightGroup;

    const NO_WEIGHTS: WeightGroup = NO_WEIGHTS;

    #[cfg(target_arch = "x86_64")]
    fn unpack_panel(
        &self,
        weights: &Weights<'_>,
        rows: Range<usize>,
        panel: &mut [WeightGroup],
    ) -> bool {
        uses(CpuUnit::Avx512) && panels::unpack(weights, rows, Sign::Unsigned, panel)
    }

    #[inline(always)]
    fn pack_weights(&self, rows: [&Group<u8>; ROWS], first: usize, out: &mut WeightGroup) {
        for (row, group) in rows.into_iter().enumerate() {
            out.scales[first + row] = group.scale;
            out.offsets[first + row] = group.offset;
        }
        interleave(&rows.map(|group| group.quants), first, &mut out.quads);
    }
}

impl Rounding for Bytes {
    type InputGroup = InputGroup;

    const NO_INPUTS: InputGroup = InputGroup {
        quads: [[0; ROWS]; QUADS],
        scales: [0.0; ROWS],
        starts: [0; ROWS],
        sums: [0.0; ROWS],
    };

    #[inline(always)]
    fn pack_inputs(&self, rows: [&[f32]; ROWS], out: &mut [InputGroup]) -> [f32; ROWS] {
        for (index, groups) in out.chunks_mut(SPAN).enumerate() {
            let (first, length) = (index * SPAN * GROUP, groups.len() * GROUP);
            let (mut scales, mut inverses) = ([0.0; ROWS], [0.0; ROWS]);
            for ((x, out), inverse) in rows.iter().zip(&mut scales).zip(&mut inverses) {
                (*out, *inverse) = scale(&x[first..][..length], self.largest);
            }
            for (group, out) in groups.iter_mut().enumerate() {
                let mut numbers = [[0i8; GROUP]; ROWS];
                for (row, (numbers, inverse)) in numbers.iter_mut().zip(inverses).enumerate() {
                    let mut sum = 0;
                    for (number, x) in numbers.iter_mut().zip(&rows[row][first + group * GROUP..]) {
                        *number = (x * inverse + ROUND).to_bits() as i8;
                        sum += i32::from(*number);
                    }
                    out.starts[row] = -i32::from(self.zero) * sum;
                    out.sums[row] = sum as f32;
                }
                out.scales = scales;
                interleave(&numbers, 0, &mut out.quads);
            }
        }
        [1.0; ROWS]
    }

    #[inline]
    fn add_products(
        &self,
        inputs: &[InputGroup],
        weights: &[WeightGroup],
        _: &[f32; ROWS],
        sums: &mut Sums,
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(instruction) = self.instruction {
            let offsets = self.has_offsets;
            let added = match instruction {
                Instruction::Vnni => vnni::add_products(offsets, inputs, weights, sums),
                Instruction::AvxVnni => avx_vnni::add_products(offsets, inputs, weights, sums),
                Instruction::Avx2 => avx2::add_products(offsets, self.widen, inputs, weights, sums),
            };
            assert!(added, "the machine has {instruction:?}");
            return;
        }
        portable(inputs, weights, sums);
    }
}

/// Plain Rust: the oracle of the vector units.
fn portable(inputs: &[InputGroup], weights: &[WeightGroup], sums: &mut Sums) {
    for (row, sums) in sums.iter_mut().enumerate() {
        for (column, sum) in sums.iter_mut().enumerate() {
            for (inputs, weights) in inputs.iter().zip(weights) {
                let quads = inputs.quads.iter().zip(&weights.quads);
                let products = quads.flat_map(|(inputs, weights)| {
                    let bytes = inputs[row].to_le_bytes().into_iter();
                    let bytes = bytes.zip(weights[column].to_le_bytes());
                    bytes.map(|(input, weight)| i32::from(input as i8) * i32::from(weight))
                });
                let product = inputs.starts[row] + products.sum::<i32>();
                let product = product as f32 * weights.scales[column];
                let offset = inputs.sums[row] * weights.offsets[column];
                *sum += (product + offset) * inputs.scales[row];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rounding::{Unit, assert_units_give};
    use super::*;

    /// Groups with numbers and quants up to these magnitudes, and with offsets.
    fn groups(largest: i32, quant: i32) -> ([InputGroup; 3], [WeightGroup; 3]) {
        let (mut inputs, mut weights) = ([Bytes::NO_INPUTS; 3], [Bytes::NO_WEIGHTS; 3]);
        let number = |largest: i32, seed: usize, i: usize| match seed {
            0 => largest, // the largest sums
            _ => largest * ((i * 37 + seed * 101) % 199) as i32 / 199,
        };
        for (index, (inputs, weights)) in inputs.iter_mut().zip(&mut weights).enumerate() {
            let rows: [[i8; GROUP]; ROWS] = std::array::from_fn(|row| {
                std::array::from_fn(|i| number(largest, row + 4 * index, i) as i8)
            });
            interleave(&rows, 0, &mut inputs.quads);
            inputs.scales = [0.5, 1.0, -2.0, 1e-4]; // one for all groups
            (inputs.starts, inputs.sums) = ([8, -9, 0, 300], [1.0, -7.0, 0.0, 30.0]);
            for first in (0..COLUMNS).step_by(ROWS) {
                let rows: [[u8; GROUP]; ROWS] = std::array::from_fn(|row| {
                    std::array::from_fn(|i| number(quant, first + row + index, i) as u8)
                });
                interleave(&rows, first, &mut weights.quads);
            }
            weights.scales = std::array::from_fn(|column| column as f32 - 3.0);
            weights.offsets = std::array::from_fn(|column| 2.0 - column as f32);
        }
        (inputs, weights)
    }

    #[test]
    fn vector_units_give_what_plain_rust_gives_up_to_the_largest_sums() {
        for (largest, quant, widen) in [
            (127, 15, Widen::Group),
            (66, 31, Widen::Group),
            (-127, 15, Widen::Group),
            (64, 255, Widen::Pair),
            (-64, 255, Widen::Pair),
            (1, 1, Widen::Pair),
            (0, 7, Widen::Group),
        ] {
            let (inputs, weights) = groups(largest, quant);
            let mut expected = [[1.0; COLUMNS]; ROWS];
            portable(&inputs, &weights, &mut expected);
            let rounding = Bytes {
                largest: 0.0,
                zero: 0,
                has_offsets: true,
                widen,
                instruction: Instruction::of_processor(),
            };
            let units: &[Unit] = &[
                #[cfg(target_arch = "x86_64")]
                ("AVX2", &|sums| {
                    avx2::add_products(true, widen, &inputs, &weights, sums)
                }),
                #[cfg(target_arch = "x86_64")]
                ("AVX-VNNI", &|sums| {
                    avx_vnni::add_products(true, &inputs, &weights, sums)
                }),
                #[cfg(target_arch = "x86_64")]
                ("VNNI", &|sums| {
                    vnni::add_products(true, &inputs, &weights, sums)
                }),
                ("the chosen one", &|sums| {
                    rounding.add_products(&inputs, &weights, &[1.0; ROWS], sums);
                    true
                }),
            ];
            assert_units_give(&expected, &format!("{largest} times {quant}"), units);
        }
    }
}
