//! SIMD128: `i32x4.dot_i16x8_s` multiplies eight words and adds the products in pairs.

use super::groups::{InputGroup, WeightGroup};
use crate::integer::rounding::{COLUMNS, ROWS, Sums};
use core::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_splat, i32x4_add, i32x4_dot_i16x8,
    i32x4_splat, v128,
};

/// Vectors of a tile's columns.
const VECTORS: usize = COLUMNS / 4;

/// It is not inlined, so that `scripts/wasm/pack.mjs` finds it and sees its vectors.
#[inline(never)]
pub(super) fn vector_loop(
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    input_scales: &[f32; ROWS],
    sums: &mut Sums,
) {
    let floats = |values: [f32; COLUMNS]| -> [v128; VECTORS] { bytemuck::cast(values) };
    let multiply_add = |a, b, c| f32x4_add(f32x4_mul(a, b), c);
    let mut out = [[f32x4_splat(0.0); VECTORS]; ROWS];
    for (inputs, weights) in inputs.iter().zip(weights) {
        let mut products = [[i32x4_splat(0); VECTORS]; ROWS];
        for (inputs, weights) in inputs.pairs.iter().zip(&weights.pairs) {
            let weights: [v128; VECTORS] = bytemuck::cast(*weights);
            for (products, &input) in products.iter_mut().zip(inputs) {
                let input = i32x4_splat(input);
                for (product, weight) in products.iter_mut().zip(weights) {
                    *product = i32x4_add(*product, i32x4_dot_i16x8(input, weight));
                }
            }
        }
        let scales = floats(weights.scales);
        for (out, products) in out.iter_mut().zip(products) {
            for ((out, product), scale) in out.iter_mut().zip(products).zip(scales) {
                *out = multiply_add(f32x4_convert_i32x4(product), scale, *out);
            }
        }
        let Some(offsets) = weights.offsets.map(floats) else {
            continue;
        };
        for (out, &sum) in out.iter_mut().zip(&inputs.sums) {
            for (out, offset) in out.iter_mut().zip(offsets) {
                *out = multiply_add(f32x4_splat(sum), offset, *out);
            }
        }
    }
    for ((sums, out), &scale) in sums.iter_mut().zip(out).zip(input_scales) {
        let mut vectors = floats(*sums);
        for (sum, out) in vectors.iter_mut().zip(out) {
            *sum = multiply_add(out, f32x4_splat(scale), *sum);
        }
        *sums = bytemuck::cast(vectors);
    }
}
