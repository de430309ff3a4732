//! AVX-512: vectors of 16 f32.

use std::arch::x86_64::{__m512, _mm512_fmadd_ps, _mm512_set1_ps};
use std::array::from_fn;

use pulp::cast;

use crate::lanes::unit::{LANES, Lanes, WIDE_ROWS as ROWS};

/// `Unit::add`.
#[inline]
pub(super) fn add<const V: usize>(
    weights: &[f32],
    stride: usize,
    inputs: [&[Lanes<f32>]; V],
    sums: [&mut [Lanes<f32>]; V],
) {
    // SAFETY: `tile` needs AVX-512. Only `Wide::here` makes the unit that calls this, on a machine that has it.
    unsafe { tile(weights, stride, inputs, sums) };
}

#[target_feature(enable = "avx512f")]
fn tile<const V: usize>(
    weights: &[f32],
    stride: usize,
    inputs: [&[Lanes<f32>]; V],
    sums: [&mut [Lanes<f32>]; V],
) {
    let steps = inputs[0].len();
    assert!(
        weights.len() >= (ROWS - 1) * stride + steps
            && inputs.iter().all(|inputs| inputs.len() == steps)
            && ROWS.is_multiple_of(4),
        "rows of weights and groups of inputs are as long as each other"
    );
    let sums = sums.map(|sums| <&mut [Lanes<f32>; ROWS]>::try_from(sums).expect("a tile of sums"));
    let mut out: [[__m512; V]; ROWS] = from_fn(|row| from_fn(|group| cast(sums[group][row].0)));
    // Three pointers and a stride fit the registers, 12 slices do not.
    let first: [*const f32; ROWS / 4] = from_fn(|four| weights[4 * four * stride..].as_ptr());
    let inputs = inputs.map(<[Lanes<f32>]>::as_ptr);
    for step in 0..steps {
        // SAFETY: `step` is one of the group's.
        let inputs: [__m512; V] = from_fn(|group| cast(unsafe { *inputs[group].add(step) }.0));
        for (row, out) in out.iter_mut().enumerate() {
            // SAFETY: the weights hold `steps` of each row, see above.
            let weight = unsafe { *first[row / 4].add(row % 4 * stride + step) };
            let weight = _mm512_set1_ps(weight);
            for (out, &inputs) in out.iter_mut().zip(&inputs) {
                *out = _mm512_fmadd_ps(inputs, weight, *out);
            }
        }
    }
    for (row, out) in out.into_iter().enumerate() {
        for (group, out) in out.into_iter().enumerate() {
            sums[group][row] = Lanes(cast::<__m512, [f32; LANES]>(out));
        }
    }
}
