//! Failures of a GPU during work, and the only place that turns its panics into errors.
//!
//! wgpu reports failures on its own threads, long after the call that caused them. A [`Health`]
//! records them, and the engine checks it between blocks. cubecl may still panic after a failure (when
//! it maps a buffer for a readback, or when its server thread is dead); no handler can prevent that.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

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
    let heard = Heard::default();
    listen(&heard);
    let outcome = catch_unwind(AssertUnwindSafe(work)).ok();
    stop_listening(&heard);
    let messages = std::mem::take(&mut *locked(&heard));
    (outcome, messages)
}

/// The messages of panics while a device works.
type Heard = Arc<Mutex<Vec<String>>>;
/// A program's own hook for panics.
type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Those who listen now, one for each device that works; and the hook for the time after.
static LISTENERS: Mutex<(Vec<Heard>, Option<Hook>)> = Mutex::new((Vec::new(), None));

/// The first listener replaces the program's hook, of which a process has one for all threads.
fn listen(heard: &Heard) {
    let (listeners, before) = &mut *locked(&LISTENERS);
    if listeners.is_empty() {
        *before = Some(std::panic::take_hook());
        std::panic::set_hook(Box::new(|info| {
            let message = info.payload_as_str().unwrap_or("panic");
            // A panic does not tell its device; only a guard whose work ended by one uses it.
            for heard in &locked(&LISTENERS).0 {
                locked(heard).push(message.to_owned());
            }
        }));
    }
    listeners.push(heard.clone());
}

/// The last listener puts the program's hook back.
fn stop_listening(heard: &Heard) {
    let (listeners, before) = &mut *locked(&LISTENERS);
    listeners.retain(|other| !Arc::ptr_eq(other, heard));
    if let Some(before) = before.take_if(|_| listeners.is_empty()) {
        std::panic::set_hook(before);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

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

    #[test]
    fn devices_that_work_at_once_do_not_lose_the_programs_hook() {
        let both = Barrier::new(2);
        let fails = || {
            let (outcome, messages) = without_panic_output(|| {
                both.wait();
                panic!("lost")
            });
            let outcome: Option<()> = outcome;
            assert!(outcome.is_none());
            messages
        };
        let works = || {
            let (outcome, _) = without_panic_output(|| both.wait());
            outcome.is_some()
        };
        std::thread::scope(|scope| {
            let (failing, working) = (scope.spawn(fails), scope.spawn(works));
            assert!(failing.join().unwrap().contains(&"lost".to_owned()));
            assert!(working.join().unwrap());
        });
        assert!(locked(&LISTENERS).0.is_empty() && locked(&LISTENERS).1.is_none());
    }
}
