//! AVX-512 VNNI: `vpdpbusd` multiplies 64 bytes and adds the products, four at a time, to sums of 32 bits.
//!
//! The 16 columns of a tile are one vector, and its four rows are four independent sums. The same units
//! multiply bytes and floats, so that each float operation takes the time of a product of bytes: one of nine
//! operations here. For this reason inputs share a scale along a [`SPAN`].

use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps,
};

use pulp::cast;

use super::groups::{InputGroup, SPAN, WeightGroup};
use crate::integer::rounding::{ROWS, Sums};
use crate::processor::CpuUnit;

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

#[target_feature(enable = "avx512f,avx512vnni")]
fn tile<const OFFSETS: bool>(inputs: &[InputGroup], weights: &[WeightGroup], sums: &mut Sums) {
    let mut out: [__m512; ROWS] = cast(*sums);
    for (inputs, weights) in inputs.chunks(SPAN).zip(weights.chunks(SPAN)) {
        let mut unscaled = [_mm512_setzero_ps(); ROWS];
        for (inputs, weights) in inputs.iter().zip(weights) {
            let mut products = inputs.starts.map(|start| _mm512_set1_epi32(start));
            for (inputs, weights) in inputs.quads.iter().zip(&weights.quads) {
                let weights: __m512i = cast(*weights);
                for (product, &input) in products.iter_mut().zip(inputs) {
                    *product = _mm512_dpbusd_epi32(*product, weights, _mm512_set1_epi32(input));
                }
            }
            let scales: __m512 = cast(weights.scales);
            for (out, product) in unscaled.iter_mut().zip(products) {
                *out = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), scales, *out);
            }
            if OFFSETS {
                let offsets: __m512 = cast(weights.offsets);
                for (out, sum) in unscaled.iter_mut().zip(inputs.sums) {
                    *out = _mm512_fmadd_ps(_mm512_set1_ps(sum), offsets, *out);
                }
            }
        }
        for ((out, unscaled), scale) in out.iter_mut().zip(unscaled).zip(inputs[0].scales) {
            *out = _mm512_fmadd_ps(unscaled, _mm512_set1_ps(scale), *out);
        }
    }
    *sums = cast(out);
}
