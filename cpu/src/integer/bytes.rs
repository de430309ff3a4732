//! Inputs of 7 or 8 bits, with one scale for every [128](SPAN) of them, and weights of 4, 5 or 8 bits.
//!
//! The instructions multiply unsigned by signed bytes; therefore quants are made unsigned. VNNI adds four
//! products to a sum of 32 bits. `pmaddubsw` (AVX2) adds two products to a sum of 16 bits. With weights of 4
//! or 5 bits the sums of a whole group fit 16 bits, so that one multiplication in nine widens them; this is
//! 1.6 times as fast as [`super::words`]. With weights of 8 bits each pair is widened, and inputs have 7 bits,
//! because a pair would overflow otherwise. NEON's `sdot` multiplies signed bytes alone: the quants' highest bit is
//! turned there, which takes 128 from each. wasm's relaxed SIMD has one factor of seven bits: quants of eight get signed
//! too, and inputs are shifted. Left out: wasm without it, which uses words.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
mod groups;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod panels;
#[cfg(target_family = "wasm")]
mod relaxed;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(target_arch = "x86_64")]
use std::ops::Range;

use bytemuck::Pod;

#[cfg(target_arch = "x86_64")]
use super::blocks::Weights;
use super::inputs::scale;
use super::interleave::{interleave, interleave_pairs};
use super::rounding::{COLUMNS, Panels, ROWS, Rounding, Sums};
use crate::formats::{BlockType, GROUP, Group};
use crate::processor::{CpuUnit, uses};
use crate::vectorize::ROUND;
use groups::{InputGroup, Widen};
pub(super) use groups::{QUADS, SPAN, WeightGroup};
#[cfg(target_arch = "x86_64")]
pub(super) use panels::{Sign, unpack as unpack_panel};

/// The instruction that multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    /// `vpdpbusd` in vectors of 512 bits.
    Vnni,
    /// `vpdpbusd` in vectors of 256 bits.
    AvxVnni,
    /// `vpmaddubsw`.
    Avx2,
    /// `usmmla`.
    NeonI8mm,
    /// `sdot`.
    NeonDotprod,
    /// `i32x4.relaxed_dot_i8x16_i7x16_add_s`.
    Relaxed,
}

/// The largest quant of seven bits.
const SEVEN_BITS: i16 = 127;

impl Instruction {
    /// The fastest first, with the units that have them.
    const ALL: [(CpuUnit, Self); 6] = [
        (CpuUnit::Avx512Vnni, Self::Vnni),
        (CpuUnit::AvxVnni, Self::AvxVnni),
        (CpuUnit::Avx2, Self::Avx2),
        (CpuUnit::NeonI8mm, Self::NeonI8mm),
        (CpuUnit::NeonDotprod, Self::NeonDotprod),
        (CpuUnit::RelaxedSimd, Self::Relaxed),
    ];

    /// That of the [processor's variant](crate::processor) that runs.
    fn of_processor() -> Option<Self> {
        let mut instructions = Self::ALL.into_iter();
        instructions.find_map(|(unit, instruction)| uses(unit).then_some(instruction))
    }

    /// What packing takes from each quant, of quants up to this one.
    fn taken(self, quant: i16) -> u8 {
        match self {
            Self::NeonDotprod if cfg!(target_arch = "aarch64") => 128,
            Self::Relaxed if cfg!(target_family = "wasm") && quant > SEVEN_BITS => 128,
            _ => 0,
        }
    }

    /// What packing adds to each input, beside quants up to this one.
    fn shift(self, quant: i16) -> i8 {
        /// It makes inputs of seven bits unsigned.
        const SHIFT: i8 = 64;
        match self {
            Self::Relaxed if quant > SEVEN_BITS => SHIFT,
            _ => 0,
        }
    }

    /// The largest input beside quants up to this one.
    fn largest_input(self, quant: i16) -> i16 {
        match self {
            Self::Avx2 => {
                let products = match Widen::of(quant) {
                    Widen::Group => GROUP as i16 / 2,
                    Widen::Pair => 2,
                };
                (i16::MAX / (products * quant)).min(i16::from(i8::MAX))
            }
            Self::Relaxed if quant > SEVEN_BITS => SEVEN_BITS / 2,
            Self::Vnni | Self::AvxVnni | Self::NeonI8mm | Self::NeonDotprod | Self::Relaxed => {
                i16::from(i8::MAX)
            }
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
    /// The zero point: what packed quants are too large by.
    zero: i32,
    #[cfg_attr(
        target_family = "wasm",
        allow(dead_code, reason = "plain Rust adds offsets of 0")
    )]
    has_offsets: bool,
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "plain Rust sums in 32 bits")
    )]
    widen: Widen,
    /// What packing takes from each quant.
    taken: u8,
    /// What packing adds to each input.
    shift: i8,
    /// `None` for plain Rust, in tests.
    instruction: Option<Instruction>,
}

impl Bytes {
    /// `None` for a format whose quants do not fit a byte, and on a machine without such an instruction.
    pub(super) fn new(block_type: BlockType) -> Option<Self> {
        Self::by(Instruction::of_processor()?, block_type)
    }

    fn by(instruction: Instruction, block_type: BlockType) -> Option<Self> {
        let quant = largest_quant(block_type)?;
        let (taken, shift) = (instruction.taken(quant), instruction.shift(quant));
        if shift != 0 && block_type.has_offsets() {
            return None; // a shift takes the place of offsets
        }
        Some(Self {
            largest: f32::from(instruction.largest_input(quant)),
            zero: i32::from(block_type.zero()) - i32::from(taken),
            has_offsets: block_type.has_offsets(),
            widen: Widen::of(quant),
            taken,
            shift,
            instruction: Some(instruction),
        })
    }
}

impl Bytes {
    /// Rows in the order of the inner loop.
    #[inline(always)]
    fn interleave<T: Pod, const W: usize>(
        &self,
        rows: &[[T; GROUP]; ROWS],
        first: usize,
        out: &mut [[i32; W]; QUADS],
    ) where
        [T; GROUP]: Pod,
    {
        match self.instruction {
            Some(Instruction::NeonI8mm) if cfg!(target_arch = "aarch64") => {
                interleave_pairs(rows, first, out);
            }
            _ => interleave(rows, first, out),
        }
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
        let quants = rows.map(|group| group.quants.map(|quant| quant.wrapping_sub(self.taken)));
        if self.shift != 0 {
            for (row, quants) in quants.iter().enumerate() {
                let sum: i32 = quants.iter().map(|&quant| i32::from(quant as i8)).sum();
                out.offsets[first + row] = (-i32::from(self.shift) * sum) as f32;
            }
        }
        self.interleave(&quants, first, &mut out.quads);
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
                    out.starts[row] = -self.zero * sum;
                    out.sums[row] = sum as f32;
                    if self.shift != 0 {
                        numbers.iter_mut().for_each(|number| *number += self.shift);
                    }
                }
                out.scales = scales;
                self.interleave(&numbers, 0, &mut out.quads);
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
                Instruction::NeonI8mm | Instruction::NeonDotprod | Instruction::Relaxed => false,
            };
            assert!(added, "the machine has {instruction:?}");
            return;
        }
        #[cfg(target_arch = "aarch64")]
        if let Some(instruction) = self.instruction {
            let offsets = self.has_offsets;
            let added = match instruction {
                Instruction::NeonI8mm => {
                    neon::add_products_of_pairs(offsets, inputs, weights, sums)
                }
                Instruction::NeonDotprod => neon::add_products(offsets, inputs, weights, sums),
                _ => false,
            };
            assert!(added, "the machine has {instruction:?}");
            return;
        }
        #[cfg(target_family = "wasm")]
        if self.instruction == Some(Instruction::Relaxed) {
            let quants = match self.shift {
                0 => relaxed::Quants::Seven {
                    offsets: self.has_offsets,
                },
                _ => relaxed::Quants::Eight,
            };
            return relaxed::add_products(quants, inputs, weights, sums);
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
    use super::super::blocks::Weights;
    use super::super::rounding::{Unit, assert_units_give};
    use super::super::{oracle, rounded_product};
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

    /// The same with 128 taken from each quant.
    #[cfg(target_arch = "aarch64")]
    fn signed<const N: usize>(
        inputs: &[InputGroup; N],
        weights: &[WeightGroup; N],
    ) -> ([InputGroup; N], [WeightGroup; N]) {
        let (mut inputs, mut weights) = (*inputs, *weights);
        for (inputs, weights) in inputs.iter_mut().zip(&mut weights) {
            for quad in weights.quads.as_flattened_mut() {
                *quad ^= 0x8080_8080_u32.cast_signed();
            }
            for quads in &inputs.quads {
                for (quad, start) in quads.iter().zip(&mut inputs.starts) {
                    let sum: i32 = quad
                        .to_le_bytes()
                        .map(|byte| i32::from(byte as i8))
                        .iter()
                        .sum();
                    *start += 128 * sum;
                }
            }
        }
        (inputs, weights)
    }

    /// The same with pairs of quads side by side.
    #[cfg(target_arch = "aarch64")]
    fn paired<const N: usize>(
        inputs: &[InputGroup; N],
        weights: &[WeightGroup; N],
    ) -> ([InputGroup; N], [WeightGroup; N]) {
        fn pair<const W: usize>(quads: &mut [[i32; W]; QUADS]) {
            let ordered = *quads;
            for step in 0..QUADS {
                for row in 0..W {
                    let place = (step / 2 * W + row) * 2 + step % 2;
                    quads.as_flattened_mut()[place] = ordered[step][row];
                }
            }
        }
        let (mut inputs, mut weights) = (*inputs, *weights);
        for (inputs, weights) in inputs.iter_mut().zip(&mut weights) {
            pair(&mut inputs.quads);
            pair(&mut weights.quads);
        }
        (inputs, weights)
    }

    #[test]
    fn vector_units_give_what_plain_rust_gives_up_to_the_largest_sums() {
        #[cfg_attr(
            not(target_arch = "x86_64"),
            allow(unused_variables, reason = "AVX2 alone widens")
        )]
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
                #[cfg(target_arch = "aarch64")]
                ("sdot", &|sums| {
                    let (inputs, weights) = signed(&inputs, &weights);
                    neon::add_products(true, &inputs, &weights, sums)
                }),
                #[cfg(target_arch = "aarch64")]
                ("usmmla", &|sums| {
                    let (inputs, weights) = paired(&inputs, &weights);
                    neon::add_products_of_pairs(true, &inputs, &weights, sums)
                }),
            ];
            assert_units_give(&expected, &format!("{largest} times {quant}"), units);
        }
    }

    #[test]
    fn whole_products_are_those_of_the_rounded_inputs_on_all_formats() {
        for (unit, instruction) in Instruction::ALL {
            if !unit.is_here() {
                println!("not run: this machine has no {instruction:?}");
                continue;
            }
            for block_type in BlockType::ALL {
                let Some(bytes) = Bytes::by(instruction, block_type) else {
                    continue;
                };
                for [m, rows, blocks] in [[1, 1, 1], [9, 33, 3], [16, 32, 2], [5, 70, 5]] {
                    let size = [rows, blocks * block_type.len()];
                    let blocks = oracle::blocks(block_type, size, m);
                    let weights = Weights {
                        bytes: &blocks,
                        block_type,
                        cols: size[1],
                    };
                    let x = oracle::inputs(m * size[1], rows);
                    let bias = oracle::inputs(rows, 3);
                    let found = rounded_product(&bytes, &x, &weights, Some(&bias));
                    let expected = oracle::product(&x, &weights, Some(&bias), bytes.largest);
                    let case = format!("{instruction:?}, {block_type:?}, {m} rows by {size:?}");
                    oracle::check(&case, &found, &expected);
                }
            }
        }
    }
}
