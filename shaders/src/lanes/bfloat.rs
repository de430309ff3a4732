//! Pairs of bf16 with sums in f32: AVX512-BF16.
//!
//! An input is rounded to the nearest bf16, as PyTorch's inputs in bf16 are: an error of 2^-9 of each. Weights are
//! bf16 already. The instruction takes numbers below 1.2e-38 for zeros.

use super::tiles::Amx;
use super::unit::{LANES, Lanes, Unit};
use super::weights::WeightRows;
use crate::processor::{CpuUnit, uses};
use crate::vectorize::{Kernel, vectorize};

#[cfg(target_arch = "x86_64")]
mod avx512;

/// Two neighbours of a row, the first in the low bits.
pub(crate) type Pair = u32;

/// AVX512-BF16 on a machine that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bfloat(());

impl Bfloat {
    /// `None` where the [processor's variant](crate::processor) does not multiply bf16.
    pub(crate) fn new() -> Option<Self> {
        Self::here().filter(|_| uses(CpuUnit::Avx512Bf16))
    }

    /// `None` on a machine that does not multiply bf16.
    pub(crate) fn here() -> Option<Self> {
        CpuUnit::Avx512Bf16.is_here().then_some(Self(()))
    }
}

impl Unit for Bfloat {
    type Step = Pair;
    type Ready = Self;
    const NUMBERS: usize = 2;
    const ROWS: usize = 12;
    const DEPTH: usize = 1;

    fn round(self, x: &[f32], out: &mut [Pair]) {
        round(x, out);
    }

    fn begin(self) -> Self {
        self
    }

    #[inline]
    fn add<const V: usize>(
        _: &Self,
        weights: &[Pair],
        stride: usize,
        inputs: [&[Lanes<Pair>]; V],
        sums: [&mut [Lanes<f32>]; V],
    ) {
        #[cfg(target_arch = "x86_64")]
        avx512::add(weights, stride, inputs, sums);
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("no other machine has this unit");
    }
}

/// [`super::product`] by the fastest unit for bf16 of the [processor's variant](crate::processor); `None` where it has
/// none.
pub(crate) fn product(
    x: &[f32],
    weight: &impl WeightRows<Pair>,
    shape: [usize; 2],
    bias: Option<&[f32]>,
) -> Option<Vec<f32>> {
    match (Amx::new(), Bfloat::new()) {
        (Some(unit), _) => Some(super::product(unit, x, weight, shape, bias)),
        (_, Some(unit)) => Some(super::product(unit, x, weight, shape, bias)),
        (None, None) => None,
    }
}

/// Rounds numbers to the nearest bf16, those between two to the even one.
pub(crate) fn round(x: &[f32], out: &mut [Pair]) {
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
pub(crate) fn rounded_pair(low: f32, high: f32) -> Pair {
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
