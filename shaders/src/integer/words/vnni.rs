//! AVX-512 VNNI: `vpdpwssd` multiplies 32 words and adds the products, in pairs, to sums of 32 bits.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_cvtepi32_ps, _mm512_dpwssd_epi32, _mm512_fmadd_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
};

use pulp::cast;

use super::groups::{InputGroup, WeightGroup};
use crate::integer::rounding::{ROWS, Sums};
use crate::processor::CpuUnit;

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

#[target_feature(enable = "avx512f,avx512vnni")]
fn tile(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    input_scales: &[f32; ROWS],
    sums: &mut Sums,
) {
    let mut out = [_mm512_setzero_ps(); ROWS];
    for (inputs, weights) in inputs.iter().zip(weights) {
        let mut products = [_mm512_setzero_si512(); ROWS];
        for (inputs, weights) in inputs.pairs.iter().zip(&weights.pairs) {
            let weights: __m512i = cast(*weights);
            for (product, &input) in products.iter_mut().zip(inputs) {
                *product = _mm512_dpwssd_epi32(*product, weights, _mm512_set1_epi32(input));
            }
        }
        let scales: __m512 = cast(weights.scales);
        for (out, product) in out.iter_mut().zip(products) {
            *out = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), scales, *out);
        }
        let Some(offsets) = weights.offsets else {
            continue;
        };
        let offsets: __m512 = cast(offsets);
        for (out, &sum) in out.iter_mut().zip(&inputs.sums) {
            *out = _mm512_fmadd_ps(_mm512_set1_ps(sum), offsets, *out);
        }
    }
    for ((sums, out), &scale) in sums.iter_mut().zip(out).zip(input_scales) {
        *sums = cast(_mm512_fmadd_ps(out, _mm512_set1_ps(scale), cast(*sums)));
    }
}
