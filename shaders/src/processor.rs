//! What this machine's processor multiplies with: one table of variants, from the plainest to the fastest.
//!
//! A kernel that has several forms asks [`uses`] which of them to run. The last variant that the machine has is taken,
//! until [`choose_cpu`] names another one, for tests and for comparisons. The products of f32 that burn-flex makes look
//! at the processor themselves and know nothing of this table.

#[cfg(target_arch = "x86_64")]
mod amx;
mod peak;
mod table;

use std::sync::atomic::{AtomicU32, Ordering};

pub use peak::{PEAKS, Peak};
pub use table::CPU_VARIANTS;

/// Instructions beyond those that every processor of its kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuUnit {
    /// Vectors of 256 bits, with fused multiplications and additions.
    Avx2,
    /// Vectors of 512 bits.
    Avx512,
    /// Products of bytes and of words with their sums, in vectors of 256 bits.
    AvxVnni,
    /// The same in vectors of 512 bits.
    Avx512Vnni,
    /// Products of bf16 with their sums in f32, in vectors of 512 bits.
    Avx512Bf16,
    /// Tiles of bytes and of bf16.
    Amx,
}

impl CpuUnit {
    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// True where the processor has it and the system lets programs use it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_here(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            Self::AvxVnni => has!("avxvnni"),
            Self::Avx512Vnni => has!("avx512f") && has!("avx512vnni"),
            Self::Avx512Bf16 => has!("avx512f") && has!("avx512bf16"),
            Self::Amx => amx::is_here(),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn is_here(self) -> bool {
        false
    }
}

/// A row of [`CPU_VARIANTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuVariant {
    /// Its word in `X2I_KERNELS`.
    pub name: &'static str,
    /// The instruction that multiplies whole numbers.
    pub integers: &'static str,
    /// The instruction that multiplies bf16, or how bf16 is multiplied.
    pub halves: &'static str,
    units: &'static [CpuUnit],
}

impl CpuVariant {
    /// The variant of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CPU_VARIANTS.iter().find(|variant| variant.name == name)
    }

    /// True where this machine can run it.
    pub fn is_here(&self) -> bool {
        self.units.iter().all(|unit| unit.is_here())
    }

    /// The units as a set.
    const fn bits(&self) -> u32 {
        let (mut bits, mut i) = (0, 0);
        while i < self.units.len() {
            bits |= self.units[i].bit();
            i += 1;
        }
        bits
    }

    /// The variant that runs: the last that this machine has, or the one that was [chosen](choose_cpu).
    pub fn current() -> &'static Self {
        let bits = current_bits();
        let mut variants = CPU_VARIANTS.iter();
        let found = variants.find(|variant| variant.bits() == bits);
        found.unwrap_or(&CPU_VARIANTS[0])
    }
}

/// Stands for units that nobody asked for yet.
const UNKNOWN: u32 = u32::MAX;

/// The units of the variant that runs.
static CURRENT: AtomicU32 = AtomicU32::new(UNKNOWN);

fn current_bits() -> u32 {
    match CURRENT.load(Ordering::Relaxed) {
        UNKNOWN => {
            let mut here = CPU_VARIANTS
                .iter()
                .rev()
                .filter(|variant| variant.is_here());
            let bits = here.next().map_or(0, CpuVariant::bits);
            CURRENT.store(bits, Ordering::Relaxed);
            bits
        }
        bits => bits,
    }
}

/// True where kernels shall use the unit; the machine has it then.
pub(crate) fn uses(unit: CpuUnit) -> bool {
    current_bits() & unit.bit() != 0
}

/// Runs this variant from now on, in the whole process.
///
/// # Panics
/// When this machine can't run it.
pub fn choose_cpu(variant: &CpuVariant) {
    assert!(variant.is_here(), "this machine has no {}", variant.name);
    CURRENT.store(variant.bits(), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: [CpuUnit; 6] = [
        CpuUnit::Avx2,
        CpuUnit::Avx512,
        CpuUnit::AvxVnni,
        CpuUnit::Avx512Vnni,
        CpuUnit::Avx512Bf16,
        CpuUnit::Amx,
    ];

    #[test]
    fn every_machine_has_the_first_variant_and_names_are_unique() {
        assert!(CPU_VARIANTS[0].is_here() && CPU_VARIANTS[0].bits() == 0);
        for (i, variant) in CPU_VARIANTS.iter().enumerate() {
            assert_eq!(CpuVariant::named(variant.name), Some(variant));
            assert!(
                CPU_VARIANTS[i + 1..]
                    .iter()
                    .all(|other| other.bits() != variant.bits())
            );
        }
        assert_eq!(CpuVariant::named("fast"), None);
    }

    #[test]
    fn the_last_variant_that_the_machine_has_runs() {
        let last = CPU_VARIANTS.iter().rfind(|variant| variant.is_here());
        assert_eq!(Some(CpuVariant::current()), last);
        for unit in UNITS {
            assert!(!uses(unit) || unit.is_here(), "{unit:?}");
        }
        for variant in CPU_VARIANTS.iter().filter(|variant| !variant.is_here()) {
            println!("not run: this machine has no {}", variant.name);
        }
    }
}
