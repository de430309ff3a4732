//! AVX2: `pmaddubsw` multiplies 32 bytes and adds the products in pairs.

#![allow(
    clippy::needless_range_loop,
    reason = "with iterators the compiler reorders the loops, and sums leave the registers"
)]

use std::arch::x86_64::{__m256, __m256i};

use pulp::{NullaryFnOnce, cast, x86::V3};

use super::groups::{InputGroup, SPAN, WeightGroup, Widen};
use crate::integer::rounding::{COLUMNS, ROWS, Sums};

/// Columns that are multiplied at a time: their sums fill half of the registers.
const PART: usize = 16;

/// Vectors of a part.
const VECTORS: usize = PART / 8;

/// Adds the products to `sums`. Returns false and does nothing on a machine without AVX2 and FMA.
pub(super) fn add_products(
    has_offsets: bool,
    widen: Widen,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) -> bool {
    let Some(simd) = V3::try_new() else {
        return false;
    };
    for part in 0..COLUMNS / PART {
        let part = Part {
            simd,
            part,
            inputs,
            weights,
            sums,
        };
        match (widen, has_offsets) {
            (Widen::Group, false) => simd.vectorize(Avx2::<false, false>(part)),
            (Widen::Group, true) => simd.vectorize(Avx2::<false, true>(part)),
            (Widen::Pair, false) => simd.vectorize(Avx2::<true, false>(part)),
            (Widen::Pair, true) => simd.vectorize(Avx2::<true, true>(part)),
        }
    }
    true
}

/// Some columns of a tile.
struct Part<'a> {
    simd: V3,
    part: usize,
    inputs: &'a [InputGroup],
    weights: &'a [WeightGroup],
    sums: &'a mut Sums,
}

/// With `PAIRS` each pair of products is widened to 32 bits, else the sums of a group.
struct Avx2<'a, const PAIRS: bool, const OFFSETS: bool>(Part<'a>);

impl<const PAIRS: bool, const OFFSETS: bool> NullaryFnOnce for Avx2<'_, PAIRS, OFFSETS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Part { simd, part, .. } = self.0;
        let V3 { avx, fma, .. } = simd;
        let spans = self.0.inputs.chunks(SPAN).zip(self.0.weights.chunks(SPAN));
        for (inputs, weights) in spans {
            let mut unscaled = [[avx._mm256_setzero_ps(); VECTORS]; ROWS];
            for (inputs, weights) in inputs.iter().zip(weights) {
                add_group::<PAIRS, OFFSETS>(simd, part, inputs, weights, &mut unscaled);
            }
            for row in 0..ROWS {
                let scale = avx._mm256_set1_ps(inputs[0].scales[row]);
                let sums = &mut self.0.sums[row].as_chunks_mut::<PART>().0[part];
                let mut out: [__m256; VECTORS] = cast(*sums);
                for v in 0..VECTORS {
                    out[v] = fma._mm256_fmadd_ps(unscaled[row][v], scale, out[v]);
                }
                *sums = cast(out);
            }
        }
    }
}

/// A group, without the scales of its inputs.
#[inline(always)]
fn add_group<const PAIRS: bool, const OFFSETS: bool>(
    simd: V3,
    part: usize,
    inputs: &InputGroup,
    weights: &WeightGroup,
    out: &mut [[__m256; VECTORS]; ROWS],
) {
    let V3 { avx, avx2, fma, .. } = simd;
    let ones = avx._mm256_set1_epi16(1);
    let mut products = [[avx._mm256_setzero_si256(); VECTORS]; ROWS];
    if PAIRS {
        for row in 0..ROWS {
            products[row] = [avx._mm256_set1_epi32(inputs.starts[row]); VECTORS];
        }
    }
    for (inputs, weights) in inputs.quads.iter().zip(&weights.quads) {
        let weights: [__m256i; VECTORS] = cast(weights.as_chunks::<PART>().0[part]);
        for row in 0..ROWS {
            let input = avx._mm256_set1_epi32(inputs[row]);
            for v in 0..VECTORS {
                let both = avx2._mm256_maddubs_epi16(weights[v], input);
                products[row][v] = if PAIRS {
                    avx2._mm256_add_epi32(products[row][v], avx2._mm256_madd_epi16(both, ones))
                } else {
                    avx2._mm256_add_epi16(products[row][v], both)
                };
            }
        }
    }
    let scales: [__m256; VECTORS] = cast(weights.scales.as_chunks::<PART>().0[part]);
    let offsets: [__m256; VECTORS] = cast(weights.offsets.as_chunks::<PART>().0[part]);
    for row in 0..ROWS {
        for v in 0..VECTORS {
            let mut product = products[row][v];
            if !PAIRS {
                let start = avx._mm256_set1_epi32(inputs.starts[row]);
                product = avx2._mm256_add_epi32(avx2._mm256_madd_epi16(product, ones), start);
            }
            let product = avx._mm256_cvtepi32_ps(product);
            out[row][v] = fma._mm256_fmadd_ps(product, scales[v], out[row][v]);
            if OFFSETS {
                let sum = avx._mm256_set1_ps(inputs.sums[row]);
                out[row][v] = fma._mm256_fmadd_ps(sum, offsets[v], out[row][v]);
            }
        }
    }
}
