//! Whether this machine has AVX-512 VNNI, which multiplies bytes or words and adds the products in one
//! instruction.

/// True on a machine with AVX-512 VNNI. The standard library caches the answer.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_vnni() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_vnni() -> bool {
    false
}
