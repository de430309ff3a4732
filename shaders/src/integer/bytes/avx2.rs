//! AVX2: `pmaddubsw` multiplies 32 bytes and adds the products in pairs.

use std::arch::x86_64::{__m256, __m256i};

use pulp::{NullaryFnOnce, cast, x86::V3};

use super::groups::{InputGroup, WeightGroup, Widen};
use crate::integer::rounding::{COLUMNS, ROWS, Sums};

/// Columns that are multiplied at a time: their sums fill half of the registers.
const PART: usize = 16;

/// Vectors of a part.
const VECTORS: usize = PART / 8;

/// Adds the products to `sums`. Returns false and does nothing on a machine without AVX2 and FMA.
pub(super) fn add_products(
    widen: Widen,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    sums: &mut Sums,
) -> bool {
    let Some(simd) = V3::try_new() else {
        return false;
    };
    for part in 0..COLUMNS / PART {
        match widen {
            Widen::Group => simd.vectorize(Avx2::<false> {
                simd,
                part,
                inputs,
                weights,
                sums,
            }),
            Widen::Pair => simd.vectorize(Avx2::<true> {
                simd,
                part,
                inputs,
                weights,
                sums,
            }),
        }
    }
    true
}

/// With `PAIRS` each pair of products is widened to 32 bits, else the sums of a group.
struct Avx2<'a, const PAIRS: bool> {
    simd: V3,
    part: usize,
    inputs: &'a [InputGroup],
    weights: &'a [WeightGroup],
    sums: &'a mut Sums,
}

impl<const PAIRS: bool> NullaryFnOnce for Avx2<'_, PAIRS> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let V3 { avx, avx2, fma, .. } = self.simd;
        let part = self.part;
        let ones = avx._mm256_set1_epi16(1);
        let part_of = |sums: [f32; COLUMNS]| sums.as_chunks::<PART>().0[part];
        let mut out: [[__m256; VECTORS]; ROWS] = self.sums.map(|sums| cast(part_of(sums)));
        for (inputs, weights) in self.inputs.iter().zip(self.weights) {
            let mut products = [[avx._mm256_setzero_si256(); VECTORS]; ROWS];
            for (inputs, weights) in inputs.quads.iter().zip(&weights.quads) {
                let weights: [__m256i; VECTORS] = cast(weights.as_chunks::<PART>().0[part]);
                for (products, &input) in products.iter_mut().zip(inputs) {
                    let input = avx._mm256_set1_epi32(input);
                    for (product, weight) in products.iter_mut().zip(weights) {
                        let both = avx2._mm256_maddubs_epi16(weight, input);
                        *product = if PAIRS {
                            avx2._mm256_add_epi32(*product, avx2._mm256_madd_epi16(both, ones))
                        } else {
                            avx2._mm256_add_epi16(*product, both)
                        };
                    }
                }
            }
            let scales: [__m256; VECTORS] = cast(part_of(weights.scales));
            let offsets: [__m256; VECTORS] = cast(part_of(weights.offsets));
            for (row, (out, products)) in out.iter_mut().zip(products).enumerate() {
                let input_scale = avx._mm256_set1_ps(inputs.scales[row]);
                let input_sum = avx._mm256_set1_ps(inputs.sums[row] * inputs.scales[row]);
                let start = avx._mm256_set1_epi32(inputs.starts[row]);
                for (column, (out, product)) in out.iter_mut().zip(products).enumerate() {
                    let product = if PAIRS {
                        product
                    } else {
                        avx2._mm256_madd_epi16(product, ones)
                    };
                    let product = avx2._mm256_add_epi32(product, start);
                    let product = avx._mm256_mul_ps(avx._mm256_cvtepi32_ps(product), input_scale);
                    let sum = fma._mm256_fmadd_ps(product, scales[column], *out);
                    *out = fma._mm256_fmadd_ps(input_sum, offsets[column], sum);
                }
            }
        }
        for (sums, out) in self.sums.iter_mut().zip(out) {
            sums.as_chunks_mut::<PART>().0[part] = cast(out);
        }
    }
}
