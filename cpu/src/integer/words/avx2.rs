//! AVX2: `pmaddwd` multiplies 16 words and adds the products in pairs.

use pulp::{NullaryFnOnce, cast, x86::V3};
use std::arch::x86_64::{__m256, __m256i};

use super::groups::{InputGroup, WeightGroup};
use crate::integer::rounding::{COLUMNS, ROWS, Sums};

/// Columns that are multiplied at a time: their sums fill half of the registers.
const PART: usize = 16;

/// Vectors of a part.
const VECTORS: usize = PART / 8;

/// Adds the products to `sums`. Returns false and does nothing on a machine without AVX2 and FMA.
pub(super) fn add_products(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    input_scales: &[f32; ROWS],
    sums: &mut Sums,
) -> bool {
    let Some(simd) = V3::try_new() else {
        return false;
    };
    for part in 0..COLUMNS / PART {
        simd.vectorize(Avx2 {
            simd,
            part,
            inputs,
            weights,
            input_scales,
            sums,
        });
    }
    true
}

struct Avx2<'a> {
    simd: V3,
    part: usize,
    inputs: &'a [InputGroup],
    weights: &'a [WeightGroup],
    input_scales: &'a [f32; ROWS],
    sums: &'a mut Sums,
}

impl NullaryFnOnce for Avx2<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let V3 { avx, avx2, fma, .. } = self.simd;
        let part = self.part;
        let mut out = [[avx._mm256_setzero_ps(); VECTORS]; ROWS];
        for (inputs, weights) in self.inputs.iter().zip(self.weights) {
            let mut products = [[avx._mm256_setzero_si256(); VECTORS]; ROWS];
            for (inputs, weights) in inputs.pairs.iter().zip(&weights.pairs) {
                let weights: [__m256i; VECTORS] = cast(weights.as_chunks::<PART>().0[part]);
                for (products, &input) in products.iter_mut().zip(inputs) {
                    let input = avx._mm256_set1_epi32(input);
                    for (product, weight) in products.iter_mut().zip(weights) {
                        let both = avx2._mm256_madd_epi16(input, weight);
                        *product = avx2._mm256_add_epi32(*product, both);
                    }
                }
            }
            let scales: [__m256; VECTORS] = cast(weights.scales.as_chunks::<PART>().0[part]);
            for (out, products) in out.iter_mut().zip(products) {
                for ((out, product), scale) in out.iter_mut().zip(products).zip(scales) {
                    *out = fma._mm256_fmadd_ps(avx._mm256_cvtepi32_ps(product), scale, *out);
                }
            }
            let Some(offsets) = weights.offsets else {
                continue;
            };
            let offsets: [__m256; VECTORS] = cast(offsets.as_chunks::<PART>().0[part]);
            for (out, &sum) in out.iter_mut().zip(&inputs.sums) {
                let sum = avx._mm256_set1_ps(sum);
                for (out, offset) in out.iter_mut().zip(offsets) {
                    *out = fma._mm256_fmadd_ps(sum, offset, *out);
                }
            }
        }
        for ((sums, out), &scale) in self.sums.iter_mut().zip(out).zip(self.input_scales) {
            let scale = avx._mm256_set1_ps(scale);
            let sums = &mut sums.as_chunks_mut::<PART>().0[part];
            let mut vectors: [__m256; VECTORS] = cast(*sums);
            for (sum, out) in vectors.iter_mut().zip(out) {
                *sum = fma._mm256_fmadd_ps(out, scale, *sum);
            }
            *sums = cast(vectors);
        }
    }
}
