//! AVX-512 VNNI: `vpdpbusd` multiplies 64 bytes and adds their products by fours to sums of 32 bits.
//!
//! A tile's 16 columns are one vector; its four rows are four sums that don't wait for each other.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512,
};

use pulp::cast;

use super::super::vnni::has_vnni;
use super::super::{ROWS, Sums};
use super::{InputGroup, WeightGroup};

/// False, and nothing done, where the machine has no AVX-512 VNNI.
pub(super) fn add_products(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) -> bool {
    let has = has_vnni();
    if has {
        // SAFETY: the machine has the features that `tile` is compiled for.
        unsafe { tile(inputs, weights, sums) };
    }
    has
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn tile(inputs: &[InputGroup], weights: &[WeightGroup], sums: &mut Sums) {
    let mut out: [__m512; ROWS] = cast(*sums);
    for (inputs, weights) in inputs.iter().zip(weights) {
        let mut products = [_mm512_setzero_si512(); ROWS];
        for (inputs, weights) in inputs.quads.iter().zip(&weights.quads) {
            let weights: __m512i = cast(*weights);
            for (product, &input) in products.iter_mut().zip(inputs) {
                *product = _mm512_dpbusd_epi32(*product, weights, _mm512_set1_epi32(input));
            }
        }
        let (scales, offsets): (__m512, __m512) = (cast(weights.scales), cast(weights.offsets));
        for (row, (out, product)) in out.iter_mut().zip(products).enumerate() {
            let input_scale = _mm512_set1_ps(inputs.scales[row]);
            let input_sum = _mm512_set1_ps(inputs.sums[row]);
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(product), input_scale);
            let sum = _mm512_fmadd_ps(product, scales, *out);
            *out = _mm512_fmadd_ps(input_sum, offsets, sum);
        }
    }
    *sums = cast(out);
}
