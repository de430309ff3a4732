//! Counts what a check of a model reads, and lets its caller stop it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use x2i_core::{Error, Result};

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Bytes that were read.
    pub done: u64,
    /// Bytes to read; those of files that were read before are not counted.
    pub total: u64,
}

/// Hears how far a check has come, on any thread and at least for each MiB; `Break` ends it with
/// [`Error::Cancelled`].
pub type OnChecked<'a> = dyn Fn(Checked) -> ControlFlow<()> + Sync + 'a;

/// Ignores how far a check has come.
pub fn ignore_checked(_: Checked) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Counts bytes for [`OnChecked`].
pub(super) struct Meter<'a> {
    done: AtomicU64,
    total: u64,
    on_checked: &'a OnChecked<'a>,
}

impl<'a> Meter<'a> {
    /// A meter of a work of so many bytes.
    pub fn new(total: u64, on_checked: &'a OnChecked<'a>) -> Self {
        Self {
            done: AtomicU64::new(0),
            total,
            on_checked,
        }
    }

    /// A meter that nobody looks at.
    pub fn silent() -> Self {
        Self::new(0, &ignore_checked)
    }

    /// Counts bytes.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the caller wants no more.
    pub fn read(&self, bytes: u64) -> Result<()> {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let total = self.total.max(done);
        match (self.on_checked)(Checked { done, total }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}
