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
use super::{InputGroup, QUADS, WeightGroup};

/// Groups at a time: their sums don't wait for each other.
const GROUPS: usize = 2;

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
    let (inputs, last_inputs) = inputs.as_chunks::<GROUPS>();
    let (weights, last_weights) = weights.as_chunks::<GROUPS>();
    for (inputs, weights) in inputs.iter().zip(weights) {
        add_groups(inputs, weights, &mut out);
    }
    for (inputs, weights) in last_inputs.iter().zip(last_weights) {
        add_groups(&[*inputs], &[*weights], &mut out);
    }
    *sums = cast(out);
}

#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_groups<const N: usize>(
    inputs: &[InputGroup; N],
    weights: &[WeightGroup; N],
    out: &mut [__m512; ROWS],
) {
    let mut products = [[_mm512_setzero_si512(); ROWS]; N];
    for quad in 0..QUADS {
        for group in 0..N {
            let weights: __m512i = cast(weights[group].quads[quad]);
            for (product, input) in products[group].iter_mut().zip(inputs[group].quads[quad]) {
                *product = _mm512_dpbusd_epi32(*product, weights, _mm512_set1_epi32(input));
            }
        }
    }
    for ((inputs, weights), products) in inputs.iter().zip(weights).zip(products) {
        let (scales, offsets): (__m512, __m512) = (cast(weights.scales), cast(weights.offsets));
        for (row, (out, product)) in out.iter_mut().zip(products).enumerate() {
            // What does not wait for the products comes first.
            let scales = _mm512_mul_ps(scales, _mm512_set1_ps(inputs.scales[row]));
            let sum = _mm512_fmadd_ps(_mm512_set1_ps(inputs.sums[row]), offsets, *out);
            *out = _mm512_fmadd_ps(_mm512_cvtepi32_ps(product), scales, sum);
        }
    }
}
