//! AVX-512 VNNI: `vpdpwssd` multiplies 32 words and adds the products, in pairs, to sums of 32 bits.

#![allow(
    clippy::needless_range_loop,
    reason = "with iterators the compiler reorders the loops, and sums leave the registers"
)]

use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpwssd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};

use pulp::cast;

use super::groups::{InputGroup, Pair, WeightGroup};
use crate::integer::rounding::{COLUMNS, ROWS, Sums};
use crate::processor::CpuUnit;

/// Vectors of a tile's columns.
const VECTORS: usize = COLUMNS / 16;

/// Adds the products to `sums`. Returns false and does nothing on a machine without AVX-512 VNNI.
pub(super) fn add_products(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    input_scales: &[f32; ROWS],
    sums: &mut Sums,
) -> bool {
    if !CpuUnit::Avx512Vnni.is_here() {
        return false;
    }
    // SAFETY: `tile` needs AVX-512 VNNI, and the machine has it.
    unsafe { tile(inputs, weights, input_scales, sums) };
    true
}

/// A tile. Loops over indices, see [`super::super::bytes`].
#[target_feature(enable = "avx512f,avx512vnni")]
fn tile(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    input_scales: &[f32; ROWS],
    sums: &mut Sums,
) {
    let mut out = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for (inputs, weights) in inputs.iter().zip(weights) {
        let mut products = [[_mm512_setzero_si512(); VECTORS]; ROWS];
        for (inputs, weights) in inputs.pairs.iter().zip(&weights.pairs) {
            let weights = whole(weights);
            for row in 0..ROWS {
                let input = _mm512_set1_epi32(inputs[row]);
                for v in 0..VECTORS {
                    products[row][v] = _mm512_dpwssd_epi32(products[row][v], weights[v], input);
                }
            }
        }
        let scales = floats(&weights.scales);
        for v in 0..VECTORS {
            for row in 0..ROWS {
                let product = _mm512_cvtepi32_ps(products[row][v]);
                out[row][v] = _mm512_fmadd_ps(product, scales[v], out[row][v]);
            }
        }
        let Some(offsets) = &weights.offsets else {
            continue;
        };
        let offsets = floats(offsets);
        for (out, &sum) in out.iter_mut().zip(&inputs.sums) {
            for (out, offset) in out.iter_mut().zip(offsets) {
                *out = _mm512_fmadd_ps(_mm512_set1_ps(sum), offset, *out);
            }
        }
    }
    for ((sums, out), &scale) in sums.iter_mut().zip(out).zip(input_scales) {
        let mut vectors = floats(sums);
        for (sum, out) in vectors.iter_mut().zip(out) {
            *sum = _mm512_fmadd_ps(out, _mm512_set1_ps(scale), *sum);
        }
        *sums = cast(vectors);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn floats(values: &[f32; COLUMNS]) -> [__m512; VECTORS] {
    let vectors = values.as_chunks::<16>().0;
    // SAFETY: each chunk has the 16 numbers that are read.
    std::array::from_fn(|v| unsafe { _mm512_loadu_ps(vectors[v].as_ptr()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn whole(values: &[Pair; COLUMNS]) -> [__m512i; VECTORS] {
    let vectors = values.as_chunks::<16>().0;
    // SAFETY: each chunk has the 16 numbers that are read.
    std::array::from_fn(|v| unsafe { _mm512_loadu_si512(vectors[v].as_ptr().cast()) })
}
