//! AVX-512 VNNI: `vpdpbusd` multiplies 64 bytes and adds the products, four at a time, to sums of 32 bits.
//!
//! The columns of a tile are two vectors, and its four rows make them eight independent sums. The same units
//! multiply bytes and floats, so that each float operation takes the time of a product of bytes: one of nine
//! operations here. For this reason inputs share a scale along a [`SPAN`].

#![allow(
    clippy::needless_range_loop,
    reason = "with iterators the compiler reorders the loops, and sums leave the registers"
)]

use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};

use pulp::cast;

use super::groups::{InputGroup, Quad, SPAN, WeightGroup};
use crate::integer::rounding::{COLUMNS, ROWS, Sums};
use crate::processor::CpuUnit;

/// Vectors of a tile's columns.
const VECTORS: usize = COLUMNS / 16;

/// Adds the products to `sums`. Returns false and does nothing on a machine without AVX-512 VNNI.
pub(super) fn add_products(
    has_offsets: bool,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) -> bool {
    if !CpuUnit::Avx512Vnni.is_here() {
        return false;
    }
    // SAFETY: `tile` needs AVX-512 VNNI, and the machine has it.
    unsafe {
        match has_offsets {
            true => tile::<true>(inputs, weights, sums),
            false => tile::<false>(inputs, weights, sums),
        }
    }
    true
}

/// A tile. Loops over indices, not iterators: with those the compiler finishes rows one after the other, and their sums
/// leave the registers.
#[target_feature(enable = "avx512f,avx512vnni")]
fn tile<const OFFSETS: bool>(inputs: &[InputGroup], weights: &[WeightGroup], sums: &mut Sums) {
    let mut out = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for (row, sums) in sums.iter().enumerate() {
        out[row] = floats(sums);
    }
    for (inputs, weights) in inputs.chunks(SPAN).zip(weights.chunks(SPAN)) {
        let mut unscaled = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        for (inputs, weights) in inputs.iter().zip(weights) {
            add_group::<OFFSETS>(inputs, weights, &mut unscaled);
        }
        for row in 0..ROWS {
            let scale = _mm512_set1_ps(inputs[0].scales[row]);
            for v in 0..VECTORS {
                out[row][v] = _mm512_fmadd_ps(unscaled[row][v], scale, out[row][v]);
            }
        }
    }
    for (sums, out) in sums.iter_mut().zip(out) {
        *sums = cast(out);
    }
}

/// A group, without the scales of its inputs.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_group<const OFFSETS: bool>(
    inputs: &InputGroup,
    weights: &WeightGroup,
    out: &mut [[__m512; VECTORS]; ROWS],
) {
    let mut products = [[_mm512_setzero_si512(); VECTORS]; ROWS];
    for row in 0..ROWS {
        products[row] = [_mm512_set1_epi32(inputs.starts[row]); VECTORS];
    }
    for (inputs, weights) in inputs.quads.iter().zip(&weights.quads) {
        let weights = whole(weights);
        for row in 0..ROWS {
            let input = _mm512_set1_epi32(inputs[row]);
            for v in 0..VECTORS {
                products[row][v] = _mm512_dpbusd_epi32(products[row][v], weights[v], input);
            }
        }
    }
    let (scales, offsets) = (floats(&weights.scales), floats(&weights.offsets));
    for v in 0..VECTORS {
        for row in 0..ROWS {
            let product = _mm512_cvtepi32_ps(products[row][v]);
            out[row][v] = _mm512_fmadd_ps(product, scales[v], out[row][v]);
            if OFFSETS {
                let sum = _mm512_set1_ps(inputs.sums[row]);
                out[row][v] = _mm512_fmadd_ps(sum, offsets[v], out[row][v]);
            }
        }
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
fn whole(values: &[Quad; COLUMNS]) -> [__m512i; VECTORS] {
    let vectors = values.as_chunks::<16>().0;
    // SAFETY: each chunk has the 16 numbers that are read.
    std::array::from_fn(|v| unsafe { _mm512_loadu_si512(vectors[v].as_ptr().cast()) })
}
