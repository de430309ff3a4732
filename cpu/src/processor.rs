//! What this machine's processor multiplies with: one table of variants, from the plainest to the fastest.
//!
//! A kernel that has several forms asks [`uses`] which of them to run. The last variant that the machine has is taken,
//! until [`choose_cpu`] names another one, for tests and for comparisons. The products of f32 that burn-flex makes look
//! at the processor themselves and know nothing of this table.

#[cfg(target_arch = "x86_64")]
mod amx;
mod peak;
#[cfg(target_arch = "x86_64")]
mod shapes;
mod table;
mod unit;
mod variant;

use std::sync::atomic::{AtomicU32, Ordering};

pub use peak::{PEAKS, Peak};
#[cfg(target_arch = "x86_64")]
pub use shapes::{EIGHT_TILES, Shapes};
pub use table::CPU_VARIANTS;
pub use unit::CpuUnit;
#[cfg(target_family = "wasm")]
pub use unit::tell_relaxed_simd;
pub use variant::CpuVariant;

impl CpuVariant {
    /// The variant of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        CPU_VARIANTS.iter().find(|variant| variant.name == name)
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
pub fn uses(unit: CpuUnit) -> bool {
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

    const UNITS: [CpuUnit; 9] = [
        CpuUnit::Avx2,
        CpuUnit::Avx512,
        CpuUnit::AvxVnni,
        CpuUnit::Avx512Vnni,
        CpuUnit::Avx512Bf16,
        CpuUnit::Amx,
        CpuUnit::NeonDotprod,
        CpuUnit::NeonI8mm,
        CpuUnit::RelaxedSimd,
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
