//! Counts what a download gives, and lets its caller stop it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use x2i_core::{Error, Result};

/// How long a wait lasts before the caller is asked again.
const SLICE: Duration = Duration::from_millis(50);

/// What a download does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulling {
    /// Asks the Hub which files there are.
    Ask,
    /// Downloads.
    Download,
    /// Waits before it asks again: the server is busy, or can't be reached.
    Wait,
    /// Reads a file that was downloaded, and compares its hash.
    Verify,
}

/// How far a download has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    /// What is done.
    pub doing: Pulling,
    /// Bytes that are here, of this download and of an earlier one that it goes on with.
    pub done: u64,
    /// Bytes to download, with those of the earlier one.
    pub total: u64,
}

/// Hears how far a download has come, on any thread and for every some KiB; `Break` ends it with
/// [`Error::Cancelled`]. What was downloaded is kept for the next time.
pub type OnPulled<'a> = dyn Fn(Pulled) -> ControlFlow<()> + Sync + 'a;

/// Ignores how far a download has come.
pub fn ignore_pulled(_: Pulled) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Counts bytes for [`OnPulled`].
pub(super) struct Meter<'a> {
    on_pulled: &'a OnPulled<'a>,
    done: AtomicU64,
    total: AtomicU64,
    broken: AtomicBool,
}

impl<'a> Meter<'a> {
    pub(super) fn new(total: u64, on_pulled: &'a OnPulled<'a>) -> Self {
        Self {
            on_pulled,
            done: AtomicU64::new(0),
            total: AtomicU64::new(total),
            broken: AtomicBool::new(false),
        }
    }

    /// Counts bytes that are here.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the caller wants no more.
    pub(super) fn add(&self, bytes: u64, doing: Pulling) -> Result<()> {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.ask(doing)
    }

    /// Takes bytes back that have to be downloaded again.
    pub(super) fn take(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a file in another length than before.
    pub(super) fn change(&self, before: u64, now: u64) {
        self.total
            .fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Asks the caller whether to go on.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the caller wants no more.
    pub(super) fn ask(&self, doing: Pulling) -> Result<()> {
        let total = self.total.load(Ordering::Relaxed);
        let pulled = Pulled {
            doing,
            done: self.done.load(Ordering::Relaxed).min(total),
            total,
        };
        let stopped = self.broken.load(Ordering::Relaxed) || (self.on_pulled)(pulled).is_break();
        match stopped {
            true => {
                self.broken.store(true, Ordering::Relaxed);
                Err(Error::Cancelled)
            }
            false => Ok(()),
        }
    }

    /// Waits.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when the caller does not want to wait.
    pub(super) fn wait(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        loop {
            self.ask(Pulling::Wait)?;
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => sleep(left.min(SLICE)),
                _ => return Ok(()),
            }
        }
    }
}
