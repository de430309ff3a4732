//! From whole numbers to sums of floats.

use super::groups::{InputGroup, LANES, ROWS, WeightGroup};
use super::machine::Products;
use crate::vectorize::multiply_add;

/// Adds the products of a span to `sums`: each group's times the scales of its weights, then all times the scale of the
/// inputs. A row of 16 sums is one vector, and those of all rows stay in registers.
#[inline(always)]
pub(super) fn add_scaled(
    products: &Products,
    inputs: &[InputGroup],
    weights: &[WeightGroup],
    half: usize,
    has_offsets: bool,
    sums: &mut [[f32; LANES]; ROWS],
) {
    let mut unscaled = [[0.0; LANES]; ROWS];
    for ((products, inputs), weights) in products.0.iter().zip(inputs).zip(weights) {
        let scales = &weights.scales.as_chunks::<LANES>().0[half];
        for (out, products) in unscaled.iter_mut().zip(products) {
            for ((out, &product), &scale) in out.iter_mut().zip(products).zip(scales) {
                *out = multiply_add(product as f32, scale, *out);
            }
        }
        if has_offsets {
            let offsets = &weights.offsets.as_chunks::<LANES>().0[half];
            for (out, &sum) in unscaled.iter_mut().zip(&inputs.sums) {
                for (out, &offset) in out.iter_mut().zip(offsets) {
                    *out = multiply_add(sum, offset, *out);
                }
            }
        }
    }
    for ((sums, unscaled), &scale) in sums.iter_mut().zip(&unscaled).zip(&inputs[0].scales) {
        for (sum, &unscaled) in sums.iter_mut().zip(unscaled) {
            *sum = multiply_add(unscaled, scale, *sum);
        }
    }
}
