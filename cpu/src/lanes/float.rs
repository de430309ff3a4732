//! f32 by f32: AVX-512 or AVX2, with fused additions.

use super::unit::{Lanes, NARROW_ROWS, Unit, WIDE_ROWS};
use super::weights::WeightRows;
use crate::processor::{CpuUnit, uses};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// AVX-512 on a machine that has it.
#[derive(Debug, Clone, Copy)]
pub struct Wide(());

/// AVX2 and FMA on a machine that has them.
#[derive(Debug, Clone, Copy)]
pub struct Narrow(());

impl Wide {
    /// `None` where the [processor's variant](crate::processor) does not use it.
    pub fn new() -> Option<Self> {
        Self::here().filter(|_| uses(CpuUnit::Avx512))
    }

    /// `None` on a machine without AVX-512.
    pub fn here() -> Option<Self> {
        CpuUnit::Avx512.is_here().then_some(Self(()))
    }
}

impl Narrow {
    /// `None` where the [processor's variant](crate::processor) does not use it.
    pub fn new() -> Option<Self> {
        Self::here().filter(|_| uses(CpuUnit::Avx2))
    }

    /// `None` on a machine without AVX2 or FMA.
    pub fn here() -> Option<Self> {
        CpuUnit::Avx2.is_here().then_some(Self(()))
    }
}

/// [`super::product`] by the widest unit of this machine; `None` where it has none.
pub fn product(
    x: &[f32],
    weight: &impl WeightRows<f32>,
    shape: [usize; 2],
    bias: Option<&[f32]>,
) -> Option<Vec<f32>> {
    match (Wide::new(), Narrow::new()) {
        (Some(unit), _) => Some(super::product(unit, x, weight, shape, bias)),
        (_, Some(unit)) => Some(super::product(unit, x, weight, shape, bias)),
        (None, None) => None,
    }
}

/// The unit of `$module`.
macro_rules! unit {
    ($unit:ident, $module:ident, $rows:ident) => {
        impl Unit for $unit {
            type Step = f32;
            type Ready = Self;
            const NUMBERS: usize = 1;
            const ROWS: usize = $rows;
            const DEPTH: usize = 1;

            fn round(self, x: &[f32], out: &mut [f32]) {
                out.copy_from_slice(x);
            }

            fn begin(self) -> Self {
                self
            }

            #[inline]
            fn add<const V: usize>(
                _: &Self,
                weights: &[f32],
                stride: usize,
                inputs: [&[Lanes<f32>]; V],
                sums: [&mut [Lanes<f32>]; V],
            ) {
                #[cfg(target_arch = "x86_64")]
                $module::add(weights, stride, inputs, sums);
                #[cfg(not(target_arch = "x86_64"))]
                unreachable!(
                    "no other machine has this unit: {:?}",
                    (weights.len(), stride, inputs.len(), sums.len())
                );
            }
        }
    };
}

unit!(Wide, avx512, WIDE_ROWS);
unit!(Narrow, avx2, NARROW_ROWS);
