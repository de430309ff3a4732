//! Two bf16 side by side, and f32 rounded to them.

use crate::vectorize::{Kernel, vectorize};

/// Two neighbours of a row, the first in the low bits.
pub type Pair = u32;

/// Rounds numbers to the nearest bf16, those between two to the even one.
pub fn round(x: &[f32], out: &mut [Pair]) {
    vectorize(Round { x, out });
}

struct Round<'a> {
    x: &'a [f32],
    out: &'a mut [Pair],
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (pairs, rest) = self.x.as_chunks::<2>();
        let (out, zeros) = self.out.split_at_mut(pairs.len());
        for (out, pair) in out.iter_mut().zip(pairs) {
            *out = rounded_pair(pair[0], pair[1]);
        }
        zeros.fill(0);
        if let [last] = rest {
            zeros[0] = rounded_pair(*last, 0.0);
        }
    }
}

/// Two numbers as a pair.
#[inline(always)]
pub fn rounded_pair(low: f32, high: f32) -> Pair {
    rounded_bits(low) >> 16 | rounded_bits(high) & 0xffff_0000
}

/// The number rounded in its upper 16 bits. NaN stays NaN.
#[inline(always)]
fn rounded_bits(number: f32) -> u32 {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if number.is_nan() {
        0x7fc0_0000
    } else {
        rounded
    }
}
