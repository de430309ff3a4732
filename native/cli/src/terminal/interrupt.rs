//! Ctrl-C.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The exit code after Ctrl-C: 128 plus the number of SIGINT, as in shells.
pub const EXIT_CANCELLED: u8 = 130;
/// How long work may take to end by itself. Reading a file on a slow disk, or one block of a large
/// model, may take longer.
const GRACE: Duration = Duration::from_millis(700);

/// A flag that Ctrl-C sets; the next progress event then cancels. Work that does not hear it ends with
/// the program after a moment, unless the program [stays](Self::stay).
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    set: Arc<AtomicBool>,
    stays: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens for Ctrl-C; a second one ends the process at once.
    ///
    /// # Errors
    /// When the system refuses the handler.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        ctrlc::set_handler(move || {
            if heard.set.swap(true, Ordering::Relaxed) {
                std::process::exit(EXIT_CANCELLED.into());
            }
            if !heard.stays.load(Ordering::Relaxed) {
                // A thread of its own: a second Ctrl-C is heard meanwhile.
                thread::spawn(end);
            }
        })?;
        Ok(interrupt)
    }

    /// From now on Ctrl-C ends one piece of work, and the program goes on.
    pub fn stay(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }

    /// True after Ctrl-C; clears the flag, so that the next work can begin.
    pub fn take(&self) -> bool {
        self.set.swap(false, Ordering::Relaxed)
    }

    /// Sets the flag, as Ctrl-C does.
    pub fn set(&self) {
        self.set.store(true, Ordering::Relaxed);
    }

    /// True after Ctrl-C.
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }
}

/// Ends the program if it is still there after a moment. Files are written whole or not at all, so that
/// none is cut; the next run removes temporary ones.
fn end() {
    thread::sleep(GRACE);
    let _ = writeln!(std::io::stderr(), "cancelled");
    std::process::exit(EXIT_CANCELLED.into());
}
