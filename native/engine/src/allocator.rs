//! glibc's allocator, told to keep what a step frees.
//!
//! Every step makes and drops tensors of tens of megabytes. As it comes, glibc gives them back to the
//! system, and the next one is faulted in page by page: 7 % of a pass over the stack of
//! docs/BENCHMARKS.md. Left out: other allocators; mimalloc was as fast and took 40 MB more.

/// Bytes at the heap's end that are kept. Half of it was slower by some percent, twice as much no faster (`x2i bench
/// stack --threads 1 --quantize q4_0` with MALLOC_TRIM_THRESHOLD_ in bytes).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 64 << 20;

/// Bytes from which an allocation is a mapping of its own, which is never kept.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED: libc::c_int = 64 << 20;

/// To be called first: it holds for what is allocated after it. Whoever sets glibc's own variables has those.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed_memory() {
    for (variable, option, value) in [
        ("MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, KEPT),
        ("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, MAPPED),
    ] {
        if std::env::var_os(variable).is_none() {
            // SAFETY: sets a number of the allocator under its own lock.
            unsafe { libc::mallopt(option, value) };
        }
    }
}

/// Other systems' allocators have no such numbers.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
