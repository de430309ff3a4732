//! AVX2: a tile of 6 weight rows and one group has 12 sums of 8 lanes, which leave registers for two halves of the
//! inputs. Two groups are two tiles.

use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_set1_ps};
use std::array::from_fn;

use pulp::cast;

use crate::lanes::unit::{LANES, Lanes, NARROW_ROWS as ROWS};

/// Vectors of a group.
const VECTORS: usize = LANES / 8;

/// `Unit::add`.
#[inline]
pub(super) fn add<const V: usize>(
    weights: &[f32],
    stride: usize,
    inputs: [&[Lanes<f32>]; V],
    sums: [&mut [Lanes<f32>]; V],
) {
    for (inputs, sums) in inputs.into_iter().zip(sums) {
        // SAFETY: `tile` needs AVX2 and FMA. Only `Narrow::here` makes the unit that calls this, on a machine that has
        // them.
        unsafe { tile(weights, stride, inputs, sums) };
    }
}

#[target_feature(enable = "avx2,fma")]
fn tile(weights: &[f32], stride: usize, inputs: &[Lanes<f32>], sums: &mut [Lanes<f32>]) {
    let steps = inputs.len();
    assert!(
        weights.len() >= (ROWS - 1) * stride + steps && ROWS.is_multiple_of(3),
        "rows of weights are as long as the inputs"
    );
    let sums = <&mut [Lanes<f32>; ROWS]>::try_from(sums).expect("a tile of sums");
    let mut out: [[__m256; VECTORS]; ROWS] = from_fn(|row| cast(sums[row].0));
    // Two pointers and a stride fit the registers, six slices do not.
    let first: [*const f32; ROWS / 3] = from_fn(|three| weights[3 * three * stride..].as_ptr());
    for (step, inputs) in inputs.iter().enumerate() {
        let inputs: [__m256; VECTORS] = cast(inputs.0);
        for (row, out) in out.iter_mut().enumerate() {
            // SAFETY: the weights hold `steps` of each row, see above.
            let weight = unsafe { *first[row / 3].add(row % 3 * stride + step) };
            let weight = _mm256_set1_ps(weight);
            for (out, &inputs) in out.iter_mut().zip(&inputs) {
                *out = _mm256_fmadd_ps(inputs, weight, *out);
            }
        }
    }
    for (sums, out) in sums.iter_mut().zip(out) {
        *sums = Lanes(cast::<[__m256; VECTORS], [f32; LANES]>(out));
    }
}
