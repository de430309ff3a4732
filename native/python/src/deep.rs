//! Work on a stack that is large enough: a thread of Python may have any.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use x2i_engine::stack::STACK;

/// Bytes of stack that do for work on the caller's thread: loading a model takes up to 1.6 MB, and a main thread's pages
/// at its ends are missing from what the system tells.
const ENOUGH: usize = STACK - (1 << 20);

/// Does work that computes on this thread, if its stack is large enough, else on one of its own; a panic is caught.
/// Context variables of Python are this thread's, so that another one is the exception.
pub(crate) fn guarded<T: Send>(work: impl FnOnce() -> T + Send) -> thread::Result<T> {
    if own_stack().is_some_and(|bytes| bytes >= ENOUGH) {
        return catch_unwind(AssertUnwindSafe(work));
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("x2i".into()).stack_size(STACK);
        builder
            .spawn_scoped(scope, work)
            .map_err(|error| Box::new(error) as Box<dyn std::any::Any + Send>)?
            .join()
    })
}

/// Bytes of this thread's stack, where the system tells.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn own_stack() -> Option<usize> {
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut start, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are read and destroyed only where the first call has made them; all places are valid.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let told = libc::pthread_attr_getstack(attributes.as_ptr(), &mut start, &mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        (told == 0).then_some(size)
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn own_stack() -> Option<usize> {
    None
}
