//! Settings of glibc's allocator: it keeps the memory that a step frees.
//!
//! Every step makes and drops tensors of tens of megabytes. By default, glibc returns their memory to
//! the system, and the next tensor costs a page fault per page: 7 % of a pass over the stack of
//! docs/BENCHMARKS.md. Not here: other allocators; mimalloc was as fast and took 40 MB more.

/// Free bytes at the heap's end that glibc keeps. Half of it was some percent slower, twice as much
/// was not faster (`x2i bench stack --threads 1 --quantize q4_0` with MALLOC_TRIM_THRESHOLD_ in
/// bytes).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 64 << 20;

/// Allocations of at least so many bytes become mappings of their own, which glibc never keeps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED: libc::c_int = 64 << 20;

/// Call this first: it affects later allocations only. glibc's own environment variables override it.
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

/// Other allocators have no such settings.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
