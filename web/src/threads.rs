//! Threads of a page that is isolated from other origins: workers that run products in this memory.
//!
//! JavaScript starts the workers, each with the module and its memory, and they wait here; `www/src/threads.ts` does it.
//! Then the pool opens, and takes them. A page without isolation has no shared memory, and everything stays on one thread.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rayon::{ThreadBuilder, ThreadPoolBuilder};
use wasm_bindgen::prelude::*;

use crate::failure::{Failure, Result};

/// Threads of the pool that no worker has taken yet.
static WAITING: Mutex<Vec<ThreadBuilder>> = Mutex::new(Vec::new());
static CHANGED: Condvar = Condvar::new();

fn waiting() -> MutexGuard<'static, Vec<ThreadBuilder>> {
    // A panic ends the module; nothing is left half done.
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a pool of this thread and `workers` others, which are in [`run_thread`]. It waits until they run.
///
/// # Errors
/// `internal` when there is a pool already.
#[wasm_bindgen(js_name = openThreads)]
pub fn open_threads(workers: usize) -> Result<()> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(workers + 1)
        .use_current_thread()
        .spawn_handler(|thread| {
            waiting().push(thread);
            CHANGED.notify_one();
            Ok(())
        });
    pool.build_global()
        .map_err(|error| Failure::new("internal", error.to_string()))
}

/// Makes a thread of the calling worker. It returns when the pool ends, which it does with the page.
#[wasm_bindgen(js_name = runThread)]
pub fn run_thread() {
    let mut threads = waiting();
    let thread = loop {
        match threads.pop() {
            Some(thread) => break thread,
            None => {
                threads = CHANGED
                    .wait(threads)
                    .unwrap_or_else(PoisonError::into_inner)
            }
        }
    };
    drop(threads);
    thread.run();
}

/// Tells that this browser compiles relaxed SIMD.
#[wasm_bindgen(js_name = tellRelaxedSimd)]
pub fn tell_relaxed_simd() {
    #[cfg(target_family = "wasm")]
    x2i_shaders::tell_relaxed_simd();
}
