//! `vdpbf16ps` multiplies 16 lanes of pairs and adds both products to sums in f32.

use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps, _mm512_set1_epi32};
use std::array::from_fn;

use pulp::cast;

use crate::lanes::pair::Pair;
use crate::lanes::unit::{LANES, Lanes, WIDE_ROWS as ROWS};

/// `Unit::add`.
#[inline]
pub(super) fn add<const V: usize>(
    weights: &[Pair],
    stride: usize,
    inputs: [&[Lanes<Pair>]; V],
    sums: [&mut [Lanes<f32>]; V],
) {
    // SAFETY: `tile` needs AVX512-BF16. Only `Bfloat::here` makes the unit that calls this, on a machine that has it.
    unsafe { tile(weights, stride, inputs, sums) };
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn tile<const V: usize>(
    weights: &[Pair],
    stride: usize,
    inputs: [&[Lanes<Pair>]; V],
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
    let first: [*const Pair; ROWS / 4] = from_fn(|four| weights[4 * four * stride..].as_ptr());
    let inputs = inputs.map(<[Lanes<Pair>]>::as_ptr);
    for step in 0..steps {
        // SAFETY: `step` is one of the group's.
        let inputs: [__m512bh; V] = from_fn(|group| cast(unsafe { *inputs[group].add(step) }.0));
        for (row, out) in out.iter_mut().enumerate() {
            // SAFETY: the weights hold `steps` of each row, see above.
            let weight = unsafe { *first[row / 4].add(row % 4 * stride + step) };
            let weight: __m512bh = cast(_mm512_set1_epi32(weight.cast_signed()));
            for (out, &inputs) in out.iter_mut().zip(&inputs) {
                *out = _mm512_dpbf16_ps(*out, inputs, weight);
            }
        }
    }
    for (row, out) in out.into_iter().enumerate() {
        for (group, out) in out.into_iter().enumerate() {
            sums[group][row] = Lanes(cast::<__m512, [f32; LANES]>(out));
        }
    }
}
