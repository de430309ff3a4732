//! Whether tiles may be used: the processor has AMX for bytes and bf16, and the system gives their state to a process
//! that asks.

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// True where this process may use tiles. Asks the system the first time; threads that run already may use them, too.
pub(super) fn is_here() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| processor_has_tiles() && system_gives_tiles())
}

/// AMX for bf16, tiles, and AMX for bytes: bits 22, 24 and 25 of leaf 7.
fn processor_has_tiles() -> bool {
    const NEEDED: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    let most = __cpuid_count(0, 0).eax;
    most >= 7 && __cpuid_count(7, 0).edx & NEEDED == NEEDED
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`, see Linux's documentation of x86's `xstate`.
#[cfg(target_os = "linux")]
fn system_gives_tiles() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: this system call takes two numbers and touches no memory of the process; it changes `rcx` and `r11`.
    unsafe {
        std::arch::asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn system_gives_tiles() -> bool {
    false
}
