//! AVX-VNNI, as laptops have it: `vpdpbusd` multiplies 32 bytes and adds the products, four at a time, to sums of 32
//! bits.

#![allow(
    clippy::needless_range_loop,
    reason = "with iterators the compiler reorders the loops, and sums leave the registers"
)]

use std::arch::x86_64::{
    __m256, __m256i, _mm256_cvtepi32_ps, _mm256_dpbusd_avx_epi32, _mm256_fmadd_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
};

use pulp::cast;

use super::groups::{InputGroup, SPAN, WeightGroup};
use crate::integer::rounding::{COLUMNS, ROWS, Sums};
use crate::processor::CpuUnit;

/// Columns that are multiplied at a time: their sums fill half of the registers.
const PART: usize = 16;

/// Vectors of a part.
const VECTORS: usize = PART / 8;

/// Sums of a part.
type PartSums = [[__m256; VECTORS]; ROWS];

/// Adds the products to `sums`. Returns false and does nothing on a machine without AVX-VNNI.
pub(super) fn add_products(
    has_offsets: bool,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) -> bool {
    if !CpuUnit::AvxVnni.is_here() || !CpuUnit::Avx2.is_here() {
        return false;
    }
    for part in 0..COLUMNS / PART {
        // SAFETY: `add_part` needs AVX-VNNI, AVX2 and FMA, and the machine has them.
        unsafe {
            match has_offsets {
                true => add_part::<true>(part, inputs, weights, sums),
                false => add_part::<false>(part, inputs, weights, sums),
            }
        }
    }
    true
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn add_part<const OFFSETS: bool>(
    part: usize,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) {
    for (inputs, weights) in inputs.chunks(SPAN).zip(weights.chunks(SPAN)) {
        let mut unscaled = [[_mm256_setzero_ps(); VECTORS]; ROWS];
        for (inputs, weights) in inputs.iter().zip(weights) {
            add_group::<OFFSETS>(part, inputs, weights, &mut unscaled);
        }
        for row in 0..ROWS {
            let scale = _mm256_set1_ps(inputs[0].scales[row]);
            let sums = &mut sums[row].as_chunks_mut::<PART>().0[part];
            let mut out: [__m256; VECTORS] = cast(*sums);
            for v in 0..VECTORS {
                out[v] = _mm256_fmadd_ps(unscaled[row][v], scale, out[v]);
            }
            *sums = cast(out);
        }
    }
}

/// A group, without the scales of its inputs.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn add_group<const OFFSETS: bool>(
    part: usize,
    inputs: &InputGroup,
    weights: &WeightGroup,
    out: &mut PartSums,
) {
    let mut products = [[_mm256_set1_epi32(0); VECTORS]; ROWS];
    for row in 0..ROWS {
        products[row] = [_mm256_set1_epi32(inputs.starts[row]); VECTORS];
    }
    for (inputs, weights) in inputs.quads.iter().zip(&weights.quads) {
        let weights: [__m256i; VECTORS] = cast(weights.as_chunks::<PART>().0[part]);
        for row in 0..ROWS {
            let input = _mm256_set1_epi32(inputs[row]);
            for v in 0..VECTORS {
                products[row][v] = _mm256_dpbusd_avx_epi32(products[row][v], weights[v], input);
            }
        }
    }
    let scales: [__m256; VECTORS] = cast(weights.scales.as_chunks::<PART>().0[part]);
    let offsets: [__m256; VECTORS] = cast(weights.offsets.as_chunks::<PART>().0[part]);
    for row in 0..ROWS {
        for v in 0..VECTORS {
            let product = _mm256_cvtepi32_ps(products[row][v]);
            out[row][v] = _mm256_fmadd_ps(product, scales[v], out[row][v]);
            if OFFSETS {
                let sum = _mm256_set1_ps(inputs.sums[row]);
                out[row][v] = _mm256_fmadd_ps(sum, offsets[v], out[row][v]);
            }
        }
    }
}
