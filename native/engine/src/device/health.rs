//! Failures of a GPU during work, and the only place that turns its panics into errors.
//!
//! wgpu reports failures on its own threads, long after the call that caused them. A [`Health`]
//! records them, and the engine checks it between blocks. cubecl may still panic after a failure (when
//! it maps a buffer for a readback, or when its server thread is dead); no handler can prevent that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The first failure of a device; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health {
    failure: Arc<OnceLock<String>>,
}

impl Health {
    /// Records a failure; the first one wins, since later ones follow from it.
    pub fn report(&self, message: impl Into<String>) {
        let _ = self.failure.set(message.into());
    }

    /// The failure, if there was one.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }
}

/// Calls `work` and returns its result, or `None` when it panicked. Panic messages of all threads are
/// returned, not printed.
///
/// cubecl 0.11 unwraps the results of mapping and of its own channels
/// (`cubecl-wgpu/src/compute/{controller,stream}.rs`; <https://github.com/tracel-ai/cubecl/issues>),
/// so a lost device may cause a panic. The state behind the unwound frames is not used again: the
/// process reports the error and ends.
pub(super) fn without_panic_output<T>(work: impl FnOnce() -> T) -> (Option<T>, Vec<String>) {
    let messages = Arc::new(Mutex::new(Vec::new()));
    let collected = messages.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or("panic").to_owned();
        collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
    }));
    let outcome = catch_unwind(AssertUnwindSafe(work)).ok();
    std::panic::set_hook(before);
    let messages = std::mem::take(&mut *messages.lock().unwrap_or_else(PoisonError::into_inner));
    (outcome, messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_wins_and_is_shared() {
        let health = Health::default();
        let twin = health.clone();
        assert_eq!(health.failure(), None);
        twin.report("out of memory");
        twin.report("device lost");
        assert_eq!(health.failure(), Some("out of memory"));
    }
}
