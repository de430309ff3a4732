//! Ctrl-C.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit code after Ctrl-C: 128 plus the number of SIGINT, as in shells.
pub const EXIT_CANCELLED: u8 = 130;

/// A flag that Ctrl-C sets; the next progress event then cancels.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens for Ctrl-C; a second one ends the process at once.
    ///
    /// # Errors
    /// When the system refuses the handler.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let flag = interrupt.0.clone();
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(EXIT_CANCELLED.into());
            }
        })?;
        Ok(interrupt)
    }

    /// True after Ctrl-C; clears the flag, so that the next work can begin.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Sets the flag, as Ctrl-C does.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True after Ctrl-C.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
