//! A stack that is large enough, whatever the system gives the main thread.
//!
//! Loading a model takes up to 1.6 MB of stack. Linux and macOS give the main thread 8 MB, Windows 1 MB,
//! and `ulimit -s` any number. The work stays on the main thread where that is enough: glibc's other
//! threads give freed memory back sooner (`allocator`).

use std::thread;

/// Bytes of stack for the work: what Linux and macOS give.
pub const STACK: usize = 8 << 20;

/// Does the work on this thread if it is the main one with a stack of [`STACK`], else on one with it.
///
/// # Panics
/// When the work does.
pub fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if main_stack().is_some_and(|bytes| bytes >= STACK) {
        return work();
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("x2i".into()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, work);
        let thread = thread.expect("the system starts a thread");
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Bytes of the main thread's stack, where the system tells.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn main_stack() -> Option<usize> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the answer.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) };
    (told == 0).then(|| usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn main_stack() -> Option<usize> {
    None
}
