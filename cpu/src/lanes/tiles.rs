//! Pairs of bf16 with sums in f32: AMX, whose tiles are 16 rows of 64 bytes.
//!
//! A tile of weights is 16 rows of 16 pairs, read where they lie; a tile of inputs is 16 steps of one group, as they are
//! packed; and a tile of sums is 16 weight rows of one group. Two tiles of weights times two groups keep four of sums.

use super::pair::{Pair, round};
use super::unit::{LANES, Lanes, Unit};
use crate::processor::{CpuUnit, uses};

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(test)]
mod software;

#[cfg(test)]
pub(super) use software::Software;

/// Weight rows of two tiles.
const ROWS: usize = 2 * LANES;

/// AMX on a machine that has it.
#[derive(Debug, Clone, Copy)]
pub struct Amx(());

impl Amx {
    /// `None` where the [processor's variant](crate::processor) does not use it.
    pub fn new() -> Option<Self> {
        Self::here().filter(|_| uses(CpuUnit::Amx))
    }

    /// `None` on a machine without AMX.
    pub fn here() -> Option<Self> {
        CpuUnit::Amx.is_here().then_some(Self(()))
    }
}

/// What both the machine and its double in software are.
macro_rules! unit {
    ($unit:ty, $ready:ty, |$self:ident| $begin:expr) => {
        impl Unit for $unit {
            type Step = Pair;
            type Ready = $ready;
            const NUMBERS: usize = 2;
            const ROWS: usize = ROWS;
            const DEPTH: usize = LANES;

            fn round($self, x: &[f32], out: &mut [Pair]) {
                round(x, out);
            }

            fn begin($self) -> $ready {
                $begin
            }

            #[inline]
            fn add<const V: usize>(
                ready: &$ready,
                weights: &[Pair],
                stride: usize,
                inputs: [&[Lanes<Pair>]; V],
                sums: [&mut [Lanes<f32>]; V],
            ) {
                let steps = inputs[0].len();
                assert!(
                    steps.is_multiple_of(LANES)
                        && weights.len() >= (ROWS - 1) * stride + steps
                        && inputs.iter().all(|inputs| inputs.len() == steps)
                        && sums.iter().all(|sums| sums.len() == ROWS),
                    "whole tiles of weights, inputs and sums"
                );
                ready.add(weights, stride, inputs, sums);
            }
        }
    };
}
#[cfg(test)]
use unit;

#[cfg(target_arch = "x86_64")]
unit!(Amx, amx::Tiles, |self| amx::Tiles::configure());
#[cfg(not(target_arch = "x86_64"))]
unit!(Amx, NoTiles, |self| NoTiles);

/// The tiles of other machines, which are never made.
#[cfg(not(target_arch = "x86_64"))]
pub struct NoTiles;

#[cfg(not(target_arch = "x86_64"))]
impl NoTiles {
    fn add<const V: usize>(
        &self,
        _: &[Pair],
        _: usize,
        _: [&[Lanes<Pair>]; V],
        _: [&mut [Lanes<f32>]; V],
    ) {
        unreachable!("no other machine has this unit");
    }
}
