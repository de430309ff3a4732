//! A row of the table.

use super::unit::CpuUnit;

/// A row of [`CPU_VARIANTS`](crate::processor::CPU_VARIANTS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuVariant {
    /// Its word in `X2I_KERNELS`.
    pub name: &'static str,
    /// The instruction that multiplies whole numbers.
    pub integers: &'static str,
    /// The instruction that multiplies bf16, or how bf16 is multiplied.
    pub halves: &'static str,
    pub(super) units: &'static [CpuUnit],
}

impl CpuVariant {
    /// True where this machine can run it.
    pub fn is_here(&self) -> bool {
        self.units.iter().all(|unit| unit.is_here())
    }

    /// The units as a set.
    pub(super) const fn bits(&self) -> u32 {
        let (mut bits, mut i) = (0, 0);
        while i < self.units.len() {
            bits |= self.units[i].bit();
            i += 1;
        }
        bits
    }
}
