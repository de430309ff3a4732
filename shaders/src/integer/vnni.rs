//! Whether this machine multiplies and adds bytes and words in one instruction, 16 sums at a time.

/// True with AVX-512 and its VNNI. The answer is cached.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_vnni() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_vnni() -> bool {
    false
}
