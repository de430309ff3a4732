//! Pairs of bf16 with sums in f32: AVX512-BF16.
//!
//! An input is rounded to the nearest bf16, as PyTorch's inputs in bf16 are: an error of 2^-9 of each. Weights are
//! bf16 already. The instruction takes numbers below 1.2e-38 for zeros.

use super::pair::{Pair, round};
use super::unit::{Lanes, Unit, WIDE_ROWS};
use crate::processor::{CpuUnit, uses};

#[cfg(target_arch = "x86_64")]
mod avx512;

/// AVX512-BF16 on a machine that has it.
#[derive(Debug, Clone, Copy)]
pub struct Bfloat(());

impl Bfloat {
    /// `None` where the [processor's variant](crate::processor) does not multiply bf16.
    pub fn new() -> Option<Self> {
        Self::here().filter(|_| uses(CpuUnit::Avx512Bf16))
    }

    /// `None` on a machine that does not multiply bf16.
    pub fn here() -> Option<Self> {
        CpuUnit::Avx512Bf16.is_here().then_some(Self(()))
    }
}

impl Unit for Bfloat {
    type Step = Pair;
    type Ready = Self;
    const NUMBERS: usize = 2;
    const ROWS: usize = WIDE_ROWS;
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
        unreachable!(
            "no other machine has this unit: {:?}",
            (weights.len(), stride, inputs.len(), sums.len())
        );
    }
}
