//! Instructions of a processor, and whether this machine has them.

#[cfg(target_arch = "x86_64")]
use super::amx;

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
    /// Products of signed bytes with their sums, in vectors of 128 bits, on Arm.
    NeonDotprod,
    /// Products of two rows of bytes by two, there.
    NeonI8mm,
    /// Fused multiplications and additions, and products of bytes with their sums, in WebAssembly.
    RelaxedSimd,
}

/// True once the embedder told that the browser has relaxed SIMD: wasm can't ask.
#[cfg(target_family = "wasm")]
static RELAXED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Tells that this browser compiles relaxed SIMD. To be called before the first product, in each browser that does.
#[cfg(target_family = "wasm")]
pub fn tell_relaxed_simd() {
    RELAXED.store(true, std::sync::atomic::Ordering::Relaxed);
}

impl CpuUnit {
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// True where the processor has it and the system lets programs use it.
    #[cfg(target_arch = "x86_64")]
    pub fn is_here(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            Self::AvxVnni => has!("avxvnni"),
            Self::Avx512Vnni => has!("avx512f") && has!("avx512vnni"),
            Self::Avx512Bf16 => has!("avx512f") && has!("avx512bf16"),
            Self::Amx => amx::is_here(),
            Self::NeonDotprod | Self::NeonI8mm | Self::RelaxedSimd => false,
        }
    }

    /// True where the processor has it and the system lets programs use it.
    #[cfg(target_arch = "aarch64")]
    pub fn is_here(self) -> bool {
        use std::arch::is_aarch64_feature_detected as has;
        match self {
            Self::NeonDotprod => has!("dotprod"),
            Self::NeonI8mm => has!("i8mm"),
            _ => false,
        }
    }

    /// True where the browser compiles it.
    #[cfg(target_family = "wasm")]
    pub fn is_here(self) -> bool {
        self == Self::RelaxedSimd && RELAXED.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// True where the processor has it and the system lets programs use it.
    #[cfg(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_family = "wasm"
    )))]
    pub fn is_here(self) -> bool {
        false
    }
}
