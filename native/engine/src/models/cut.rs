//! A mapped file that another program cuts while it is in use: an error instead of a dead process.
//!
//! Reading a page behind the file's new end raises SIGBUS. The handler puts a page of zeros in its place and
//! marks the map, and the work goes on; [`check_uncut`] reports the map afterwards, so that nothing made of
//! the zeros is kept. Not here: Windows, which refuses to cut a mapped file.

use std::sync::{Mutex, PoisonError};

use x2i_core::{Error, Result};

/// The names of the maps in use, by slot.
static NAMES: Mutex<Vec<(usize, String)>> = Mutex::new(Vec::new());

/// Keeps watch over a map for as long as the map is in use.
pub(super) struct Watch(usize);

impl Watch {
    /// Watches the pages of a map; `None` where SIGBUS can't be handled, or when too many maps are watched.
    pub(super) fn over(name: &str, map: &[u8]) -> Option<Self> {
        let slot = signal::watch(map)?;
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        names.push((slot, name.to_owned()));
        Some(Self(slot))
    }

    /// True when a page of the map was not there any more.
    pub(super) fn is_cut(&self) -> bool {
        signal::is_cut(self.0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        names.retain(|(slot, _)| *slot != self.0);
        signal::release(self.0);
    }
}

/// The error for a file that was cut.
pub(super) fn cut_error(name: &str) -> Error {
    Error::format(name, "was cut while it was in use; get the file again")
}

/// Fails if any map that is in use lost pages: what was computed may be wrong.
///
/// # Errors
/// [`Error::Format`] naming the file.
pub(crate) fn check_uncut() -> Result<()> {
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.iter().find(|(slot, _)| signal::is_cut(*slot)) {
        Some((_, name)) => Err(cut_error(name)),
        None => Ok(()),
    }
}

/// The handler, and the table that it reads: atomics alone, since a signal may come at any instruction.
#[cfg(unix)]
mod signal {
    use std::ffi::{c_int, c_void};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

    /// Most maps at a time: a model has up to ten files, a LoRA one.
    const MOST: usize = 256;

    /// One watched map; free where `start` is 0.
    struct Slot {
        start: AtomicUsize,
        len: AtomicUsize,
        cut: AtomicBool,
    }

    static SLOTS: [Slot; MOST] = [const {
        Slot {
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
        }
    }; MOST];

    /// The handler before ours (std's, which reports a stack overflow), and the size of a page.
    struct Before {
        action: libc::sigaction,
        page: usize,
    }

    /// `None` inside when the system refused the handler.
    static BEFORE: OnceLock<Option<Before>> = OnceLock::new();

    pub(super) fn watch(map: &[u8]) -> Option<usize> {
        BEFORE.get_or_init(install).as_ref()?;
        let start = map.as_ptr() as usize;
        let claimed = |slot: &Slot| {
            slot.start
                .compare_exchange(0, start, SeqCst, SeqCst)
                .is_ok()
        };
        let index = SLOTS.iter().position(claimed)?;
        SLOTS[index].len.store(map.len(), SeqCst);
        Some(index)
    }

    pub(super) fn is_cut(slot: usize) -> bool {
        SLOTS[slot].cut.load(SeqCst)
    }

    pub(super) fn release(slot: usize) {
        let slot = &SLOTS[slot];
        slot.len.store(0, SeqCst);
        slot.cut.store(false, SeqCst);
        slot.start.store(0, SeqCst);
    }

    fn install() -> Option<Before> {
        // SAFETY: all-zero bytes are a valid sigaction, and sysconf reads no memory of ours.
        let (mut action, page) = unsafe {
            let action: libc::sigaction = std::mem::zeroed();
            (action, libc::sysconf(libc::_SC_PAGESIZE))
        };
        let page = usize::try_from(page).ok()?;
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_sigbus;
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        let mut before = action;
        // SAFETY: both point to sigactions, and the handler only does what a handler may do.
        let refused = unsafe { libc::sigaction(libc::SIGBUS, &action, &mut before) } != 0;
        (!refused).then_some(Before {
            action: before,
            page,
        })
    }

    extern "C" fn on_sigbus(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        let Some(Some(before)) = BEFORE.get() else {
            // SAFETY: `abort` may be called in a handler. This is no page of ours: none is watched yet.
            unsafe { libc::abort() }
        };
        // SAFETY: the system passes a valid siginfo of a SIGBUS, which has an address.
        let address = unsafe { (*info).si_addr() } as usize;
        if !replace_page(address, before.page) {
            // SAFETY: this is the action that was there before. The instruction runs again and fails
            // again, and the earlier handler gets the signal.
            unsafe { libc::sigaction(libc::SIGBUS, &before.action, std::ptr::null_mut()) };
        }
    }

    /// Puts zeros in place of the page of `address` if it belongs to a watched map.
    fn replace_page(address: usize, page: usize) -> bool {
        let of = |slot: &&Slot| {
            let start = slot.start.load(SeqCst);
            let end = start + slot.len.load(SeqCst).next_multiple_of(page);
            start != 0 && (start..end).contains(&address)
        };
        let Some(slot) = SLOTS.iter().find(of) else {
            return false;
        };
        let first = (address & !(page - 1)) as *mut c_void;
        // SAFETY: the page lies inside a read-only map of ours, which stays mapped while it is watched; the
        // new page is as readable as the one that it replaces. mmap is a plain system call here.
        let mapped = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            libc::mmap(first, page, libc::PROT_READ, flags, -1, 0)
        };
        let replaced = mapped == first;
        slot.cut.fetch_or(replaced, SeqCst);
        replaced
    }
}

#[cfg(not(unix))]
mod signal {
    pub(super) fn watch(_: &[u8]) -> Option<usize> {
        None
    }

    pub(super) fn is_cut(_: usize) -> bool {
        false
    }

    pub(super) fn release(_: usize) {}
}
