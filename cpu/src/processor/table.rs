//! The table: a line for each variant, the plainest first.

#[cfg(target_family = "wasm")]
use super::unit::CpuUnit::RelaxedSimd;
#[cfg(target_arch = "x86_64")]
use super::unit::CpuUnit::{Amx, Avx2, Avx512, Avx512Bf16, Avx512Vnni, AvxVnni};
#[cfg(target_arch = "aarch64")]
use super::unit::CpuUnit::{NeonDotprod, NeonI8mm};
use super::variant::CpuVariant;

const WIDENED: &str = "widened to f32";

/// What processors of this kind multiply with, the plainest first. The last that a machine has is the fastest there.
pub const CPU_VARIANTS: &[CpuVariant] = &[
    CpuVariant {
        name: "plain",
        integers: match cfg!(target_family = "wasm") {
            true => "i32x4.dot_i16x8_s",
            false => "plain Rust",
        },
        halves: WIDENED,
        units: &[],
    },
    #[cfg(target_arch = "x86_64")]
    CpuVariant {
        name: "avx2",
        integers: "vpmaddubsw, vpmaddwd",
        halves: WIDENED,
        units: &[Avx2],
    },
    #[cfg(target_arch = "x86_64")]
    CpuVariant {
        name: "avx512",
        integers: "vpmaddubsw, vpmaddwd",
        halves: WIDENED,
        units: &[Avx2, Avx512],
    },
    #[cfg(target_arch = "x86_64")]
    CpuVariant {
        name: "avx_vnni",
        integers: "vpdpbusd of 256 bits",
        halves: WIDENED,
        units: &[Avx2, AvxVnni],
    },
    #[cfg(target_arch = "x86_64")]
    CpuVariant {
        name: "vnni",
        integers: "vpdpbusd of 512 bits",
        halves: WIDENED,
        units: &[Avx2, Avx512, Avx512Vnni],
    },
    #[cfg(target_arch = "x86_64")]
    CpuVariant {
        name: "avx512_bf16",
        integers: "vpdpbusd of 512 bits",
        halves: "vdpbf16ps",
        units: &[Avx2, Avx512, Avx512Vnni, Avx512Bf16],
    },
    #[cfg(target_arch = "x86_64")]
    CpuVariant {
        name: "amx",
        integers: "tdpbssd",
        halves: "tdpbf16ps",
        units: &[Avx2, Avx512, Avx512Vnni, Avx512Bf16, Amx],
    },
    #[cfg(target_arch = "aarch64")]
    CpuVariant {
        name: "neon_dotprod",
        integers: "sdot",
        halves: WIDENED,
        units: &[NeonDotprod],
    },
    #[cfg(target_arch = "aarch64")]
    CpuVariant {
        name: "neon_i8mm",
        integers: "usmmla",
        halves: WIDENED,
        units: &[NeonDotprod, NeonI8mm],
    },
    #[cfg(target_family = "wasm")]
    CpuVariant {
        name: "relaxed_simd",
        integers: "i32x4.relaxed_dot_i8x16_i7x16_add_s",
        halves: WIDENED,
        units: &[RelaxedSimd],
    },
];
