//! wasm's relaxed SIMD: `i32x4.relaxed_dot_i8x16_i7x16_add_s` multiplies 16 signed bytes by 16 of seven bits and adds
//! the products, four at a time, to sums of 32 bits.
//!
//! Its result is the same everywhere as long as the second factor has no eighth bit. Quants of up to seven bits are that
//! factor. Larger ones are the first, with 128 taken from each; then the inputs are shifted up and are the second.

#![allow(
    clippy::needless_range_loop,
    reason = "with iterators the compiler reorders the loops, and sums leave the registers"
)]

use core::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_relaxed_madd, f32x4_splat,
    i32x4_relaxed_dot_i8x16_i7x16_add, i32x4_splat, v128,
};
use core::hint::black_box;

use super::groups::{InputGroup, QUADS, SPAN, WeightGroup};
use crate::integer::rounding::{COLUMNS, ROWS, Sums};

/// Vectors of a tile's columns.
const VECTORS: usize = COLUMNS / 4;

/// Which factor the quants are, and whether they have offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quants {
    /// The second factor.
    Seven { offsets: bool },
    /// The first. A group's offsets are then what the shift of its inputs adds to the sums of products.
    Eight,
}

/// Adds the products to `sums`.
///
/// # Panics
/// Traps in a browser that has no relaxed SIMD.
pub(super) fn add_products(
    quants: Quants,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) {
    match quants {
        Quants::Seven { offsets: false } => {
            relaxed_vector_loop::<false, false>(inputs, weights, sums)
        }
        Quants::Seven { offsets: true } => {
            relaxed_vector_loop::<false, true>(inputs, weights, sums)
        }
        Quants::Eight => relaxed_vector_loop::<true, false>(inputs, weights, sums),
    }
}

/// It is not inlined, so that `scripts/wasm/pack.mjs` finds what a browser without relaxed SIMD can't compile.
#[inline(never)]
#[target_feature(enable = "relaxed-simd")]
fn relaxed_vector_loop<const EIGHT: bool, const OFFSETS: bool>(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) {
    let floats = |values: [f32; COLUMNS]| -> [v128; VECTORS] { bytemuck::cast(values) };
    // A number of steps that the compiler knows makes it unroll them, and add to one sum after the other: no sum is in a
    // register then, and it takes twice the time.
    let steps = black_box(QUADS);
    let mut out = [[f32x4_splat(0.0); VECTORS]; ROWS];
    for row in 0..ROWS {
        out[row] = floats(sums[row]);
    }
    for (inputs, weights) in inputs.chunks(SPAN).zip(weights.chunks(SPAN)) {
        let mut unscaled = [[f32x4_splat(0.0); VECTORS]; ROWS];
        for (inputs, weights) in inputs.iter().zip(weights) {
            let products = products::<EIGHT>(inputs, weights, steps);
            let (scales, offsets) = (floats(weights.scales), floats(weights.offsets));
            for row in 0..ROWS {
                for v in 0..VECTORS {
                    let mut product = f32x4_convert_i32x4(products[row][v]);
                    if EIGHT {
                        product = f32x4_add(product, offsets[v]);
                    }
                    unscaled[row][v] = f32x4_relaxed_madd(product, scales[v], unscaled[row][v]);
                    if OFFSETS {
                        let sum = f32x4_splat(inputs.sums[row]);
                        unscaled[row][v] = f32x4_relaxed_madd(sum, offsets[v], unscaled[row][v]);
                    }
                }
            }
        }
        for row in 0..ROWS {
            let scale = f32x4_splat(inputs[0].scales[row]);
            for v in 0..VECTORS {
                out[row][v] = f32x4_add(out[row][v], f32x4_mul(unscaled[row][v], scale));
            }
        }
    }
    for row in 0..ROWS {
        sums[row] = bytemuck::cast(out[row]);
    }
}

/// The sums of a group's products.
#[inline]
#[target_feature(enable = "relaxed-simd")]
fn products<const EIGHT: bool>(
    inputs: &InputGroup,
    weights: &WeightGroup,
    steps: usize,
) -> [[v128; VECTORS]; ROWS] {
    let mut sums = [[i32x4_splat(0); VECTORS]; ROWS];
    for row in 0..ROWS {
        sums[row] = [i32x4_splat(inputs.starts[row]); VECTORS];
    }
    for (inputs, weights) in inputs.quads[..steps].iter().zip(&weights.quads) {
        let weights: [v128; VECTORS] = bytemuck::cast(*weights);
        for row in 0..ROWS {
            let input = i32x4_splat(inputs[row]);
            for v in 0..VECTORS {
                let (signed, seven) = if EIGHT {
                    (weights[v], input)
                } else {
                    (input, weights[v])
                };
                sums[row][v] = i32x4_relaxed_dot_i8x16_i7x16_add(signed, seven, sums[row][v]);
            }
        }
    }
    sums
}
