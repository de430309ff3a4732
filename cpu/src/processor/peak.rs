//! The peak of each instruction that the kernels multiply with: loops of it alone, on registers.
//!
//! A kernel's rate divided by the peak says how much of the processor it uses. Clocks are the caller's.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod loops;

use super::CpuUnit;

/// An instruction, or those that make a product together.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Its name.
    pub instruction: &'static str,
    /// What it multiplies.
    pub numbers: &'static str,
    unit: CpuUnit,
    /// Operations of a round: a multiplication and an addition are two.
    operations: u64,
    /// # Safety
    /// The machine must have the unit.
    run: unsafe fn(usize),
}

impl Peak {
    /// True where this machine has the instruction.
    pub fn is_here(&self) -> bool {
        self.unit.is_here()
    }

    /// Repeats the instruction for so many rounds on one thread, and gives the operations that were done; `None` where
    /// the machine lacks it.
    pub fn run(&self, rounds: usize) -> Option<u64> {
        if !self.is_here() {
            return None;
        }
        // SAFETY: the machine has the unit.
        unsafe { (self.run)(rounds) };
        Some(self.operations * rounds as u64)
    }
}

/// Every instruction that kernels for this kind of processor multiply with.
pub const PEAKS: &[Peak] = &[
    #[cfg(target_arch = "x86_64")]
    Peak {
        instruction: "vfmadd of 256 bits",
        numbers: "f32",
        unit: CpuUnit::Avx2,
        operations: loops::NARROW * 2 * 8,
        run: loops::floats_256,
    },
    #[cfg(target_arch = "x86_64")]
    Peak {
        instruction: "vfmadd of 512 bits",
        numbers: "f32",
        unit: CpuUnit::Avx512,
        operations: loops::WIDE * 2 * 16,
        run: loops::floats_512,
    },
    #[cfg(target_arch = "x86_64")]
    Peak {
        instruction: "vpmaddubsw, vpmaddwd",
        numbers: "8 bits",
        unit: CpuUnit::Avx2,
        operations: loops::NARROW * 2 * 32,
        run: loops::bytes_avx2,
    },
    #[cfg(target_arch = "x86_64")]
    Peak {
        instruction: "vpdpbusd of 256 bits",
        numbers: "8 bits",
        unit: CpuUnit::AvxVnni,
        operations: loops::NARROW * 2 * 32,
        run: loops::bytes_256,
    },
    #[cfg(target_arch = "x86_64")]
    Peak {
        instruction: "vpdpbusd of 512 bits",
        numbers: "8 bits",
        unit: CpuUnit::Avx512Vnni,
        operations: loops::WIDE * 2 * 64,
        run: loops::bytes_512,
    },
    #[cfg(target_arch = "x86_64")]
    Peak {
        instruction: "vdpbf16ps",
        numbers: "bf16",
        unit: CpuUnit::Avx512Bf16,
        operations: loops::WIDE * 2 * 32,
        run: loops::halves_512,
    },
    #[cfg(target_arch = "x86_64")]
    Peak {
        instruction: "tdpbssd",
        numbers: "8 bits",
        unit: CpuUnit::Amx,
        operations: amx::PRODUCTS * 2 * 16 * 16 * 64,
        run: amx::bytes,
    },
    #[cfg(target_arch = "x86_64")]
    Peak {
        instruction: "tdpbf16ps",
        numbers: "bf16",
        unit: CpuUnit::Amx,
        operations: amx::PRODUCTS * 2 * 16 * 16 * 32,
        run: amx::halves,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_that_the_machine_has_runs_and_no_other() {
        for peak in PEAKS {
            match peak.run(1000) {
                Some(operations) => assert_eq!(operations, 1000 * peak.operations),
                None => println!("not run: this machine has no {}", peak.instruction),
            }
            assert_eq!(peak.run(1).is_some(), peak.is_here());
        }
    }
}
