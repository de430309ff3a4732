//! Arm: `sdot` multiplies 16 signed bytes and adds the products, four at a time, to sums of 32 bits; `usmmla` multiplies
//! two rows of eight unsigned bytes by two of signed ones, twice as many products.
//!
//! A tile's sixteen sums fill half of the registers in both. `usmmla` wants eight numbers of a row side by side, so that
//! both sides are packed in [pairs of quads](interleave_pairs); its sums are squares of two columns and two rows, which
//! are set in order once a group. Rust's functions for both are not stable, so that each is a line of assembly.

#![allow(
    clippy::needless_range_loop,
    reason = "with iterators the compiler reorders the loops, and sums leave the registers"
)]

use std::arch::aarch64::{
    float32x4_t, int32x4_t, vaddq_s32, vcvtq_f32_s32, vdupq_n_f32, vdupq_n_s32, vfmaq_f32,
    vfmaq_n_f32, vld1q_s32, vuzp1q_s32, vuzp2q_s32,
};
use std::arch::asm;

use pulp::cast;

use super::groups::{InputGroup, SPAN, WeightGroup};
#[cfg(doc)]
use crate::integer::interleave::interleave_pairs;
use crate::integer::rounding::{COLUMNS, ROWS, Sums};
use crate::processor::CpuUnit;

/// Vectors of a tile's columns.
const VECTORS: usize = COLUMNS / 4;

/// A number of 32 bits for each column of a tile, in each row.
type Products = [[int32x4_t; VECTORS]; ROWS];

/// The same in f32.
type Floats = [[float32x4_t; VECTORS]; ROWS];

/// Adds the products to `sums` by `sdot`, of weights that are signed. Returns false and does nothing on a machine without
/// it.
pub(super) fn add_products(
    has_offsets: bool,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) -> bool {
    if !CpuUnit::NeonDotprod.is_here() {
        return false;
    }
    // SAFETY: `tile_of_dots` needs the instruction, and the machine has it.
    unsafe { tile_of_dots(has_offsets, inputs, weights, sums) };
    true
}

/// Adds the products to `sums` by `usmmla`, of both sides in [pairs of quads](interleave_pairs). Returns false and does
/// nothing on a machine without it.
pub(super) fn add_products_of_pairs(
    has_offsets: bool,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) -> bool {
    if !CpuUnit::NeonI8mm.is_here() {
        return false;
    }
    // SAFETY: `tile_of_squares` needs the instruction, and the machine has it.
    unsafe { tile_of_squares(has_offsets, inputs, weights, sums) };
    true
}

#[target_feature(enable = "neon,dotprod")]
fn tile_of_dots(
    has_offsets: bool,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) {
    tile(has_offsets, inputs, weights, sums, |inputs, weights| {
        dots(inputs, weights)
    });
}

#[target_feature(enable = "neon,i8mm")]
fn tile_of_squares(
    has_offsets: bool,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) {
    tile(has_offsets, inputs, weights, sums, |inputs, weights| {
        squares(inputs, weights)
    });
}

/// A tile, whose groups' sums of products `products` gives.
#[inline(always)]
fn tile(
    has_offsets: bool,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
    products: impl Fn(&InputGroup, &WeightGroup) -> Products,
) {
    let mut out: Floats = cast(*sums);
    for (inputs, weights) in inputs.chunks(SPAN).zip(weights.chunks(SPAN)) {
        // SAFETY: every processor of this kind has these instructions.
        let mut unscaled: Floats = [[unsafe { vdupq_n_f32(0.0) }; VECTORS]; ROWS];
        for (inputs, weights) in inputs.iter().zip(weights) {
            let products = products(inputs, weights);
            // SAFETY: as above.
            unsafe { add_scaled(has_offsets, inputs, weights, products, &mut unscaled) };
        }
        for row in 0..ROWS {
            for v in 0..VECTORS {
                // SAFETY: as above.
                out[row][v] =
                    unsafe { vfmaq_n_f32(out[row][v], unscaled[row][v], inputs[0].scales[row]) };
            }
        }
    }
    *sums = cast(out);
}

/// Adds a group's products times the scales of its weights.
#[inline]
#[target_feature(enable = "neon")]
fn add_scaled(
    has_offsets: bool,
    inputs: &InputGroup,
    weights: &WeightGroup,
    products: Products,
    out: &mut Floats,
) {
    let scales: [float32x4_t; VECTORS] = cast(weights.scales);
    let offsets: [float32x4_t; VECTORS] = cast(weights.offsets);
    for row in 0..ROWS {
        for v in 0..VECTORS {
            out[row][v] = vfmaq_f32(out[row][v], vcvtq_f32_s32(products[row][v]), scales[v]);
            if has_offsets {
                out[row][v] = vfmaq_n_f32(out[row][v], offsets[v], inputs.sums[row]);
            }
        }
    }
}

/// Adds to each of four sums the products of four bytes of `$weights` and of those of `$inputs` at `$row`.
macro_rules! dot {
    ($sum:expr, $weights:expr, $inputs:expr, $row:literal) => {
        // SAFETY: the instruction reads and writes registers alone.
        unsafe {
            asm!(
                concat!("sdot {sum:v}.4s, {weights:v}.16b, {inputs:v}.4b[", $row, "]"),
                sum = inout(vreg) $sum,
                weights = in(vreg) $weights,
                inputs = in(vreg) $inputs,
                options(pure, nomem, nostack, preserves_flags)
            )
        }
    };
}

/// The sums of a group's products.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots(inputs: &InputGroup, weights: &WeightGroup) -> Products {
    let mut sums: Products = [[vdupq_n_s32(0); VECTORS]; ROWS];
    for row in 0..ROWS {
        sums[row] = [vdupq_n_s32(inputs.starts[row]); VECTORS];
    }
    for (inputs, weights) in inputs.quads.iter().zip(&weights.quads) {
        let inputs = whole(inputs);
        for (v, weights) in weights.as_chunks::<4>().0.iter().enumerate() {
            let weights = whole(weights);
            dot!(sums[0][v], weights, inputs, 0);
            dot!(sums[1][v], weights, inputs, 1);
            dot!(sums[2][v], weights, inputs, 2);
            dot!(sums[3][v], weights, inputs, 3);
        }
    }
    sums
}

/// The sums of a group's products, of both sides in pairs of quads.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn squares(inputs: &InputGroup, weights: &WeightGroup) -> Products {
    const SIDE: usize = 2;
    let mut sums = [[vdupq_n_s32(0); ROWS / SIDE]; COLUMNS / SIDE];
    let inputs_of = inputs.quads.as_flattened().as_chunks::<{ 2 * ROWS }>().0;
    let weights_of = weights.quads.as_flattened();
    let weights_of = weights_of.as_chunks::<{ 2 * COLUMNS }>().0;
    for (inputs, weights) in inputs_of.iter().zip(weights_of) {
        let inputs = inputs.as_chunks::<4>().0;
        let inputs = [whole(&inputs[0]), whole(&inputs[1])];
        for (weights, sums) in weights.as_chunks::<4>().0.iter().zip(&mut sums) {
            let weights = whole(weights);
            for half in 0..ROWS / SIDE {
                // SAFETY: the instruction reads and writes registers alone.
                unsafe {
                    asm!(
                        "usmmla {sum:v}.4s, {weights:v}.16b, {inputs:v}.16b",
                        sum = inout(vreg) sums[half],
                        weights = in(vreg) weights,
                        inputs = in(vreg) inputs[half],
                        options(pure, nomem, nostack, preserves_flags)
                    );
                }
            }
        }
    }
    let mut products: Products = [[vdupq_n_s32(0); VECTORS]; ROWS];
    for v in 0..VECTORS {
        for half in 0..ROWS / SIDE {
            let (left, right) = (sums[2 * v][half], sums[2 * v + 1][half]);
            products[2 * half][v] = vuzp1q_s32(left, right);
            products[2 * half + 1][v] = vuzp2q_s32(left, right);
        }
    }
    for row in 0..ROWS {
        let start = vdupq_n_s32(inputs.starts[row]);
        products[row] = products[row].map(|sums| vaddq_s32(sums, start));
    }
    products
}

#[inline]
#[target_feature(enable = "neon")]
fn whole(values: &[i32; 4]) -> int32x4_t {
    // SAFETY: the four numbers are read.
    unsafe { vld1q_s32(values.as_ptr()) }
}
