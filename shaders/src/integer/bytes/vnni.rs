//! AVX-512 VNNI: `vpdpbusd` multiplies 64 bytes and adds their products by fours to sums of 32 bits.
//!
//! A tile's 16 columns are one vector; its four rows are four sums that don't wait for each other. The
//! units that multiply bytes multiply floats, too, so that every float operation of a group costs: one
//! of nine here. Hence inputs share a scale along a [`SPAN`].

use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps,
};

use pulp::cast;

use super::super::vnni::has_vnni;
use super::super::{ROWS, Sums};
use super::{InputGroup, SPAN, WeightGroup};

/// False, and nothing done, where the machine has no AVX-512 VNNI.
pub(super) fn add_products(
    has_offsets: bool,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) -> bool {
    if !has_vnni() {
        return false;
    }
    // SAFETY: the machine has the features that `tile` is compiled for.
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
