//! The allocator of the module: std's, which tells the page when wasm's memory is full.
//!
//! A failed allocation ends the module by a trap without a word, as a panic does. The page hears the reason first.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};

use js_sys::Function;
use send_wrapper::SendWrapper;
use wasm_bindgen::JsValue;

#[cfg(target_family = "wasm")]
#[global_allocator]
static ALLOCATOR: Telling = Telling;

/// Bytes of a page of wasm's memory.
#[cfg(target_family = "wasm")]
const PAGE: usize = 64 << 10;

thread_local! {
    static LISTENER: RefCell<Option<SendWrapper<Function>>> = const { RefCell::new(None) };
    /// What is told allocates too.
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Calls `listener` with a message and a code before the module ends for want of memory.
pub fn tell(listener: Function) {
    LISTENER.set(Some(SendWrapper::new(listener)));
}

struct Telling;

// SAFETY: every call goes to `System` as it came; telling neither unwinds nor frees.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are `System`'s.
        checked(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        checked(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[inline(always)]
fn checked(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        full(bytes);
    }
    memory
}

#[cold]
fn full(bytes: usize) {
    if TOLD.replace(true) {
        return;
    }
    let message = format!(
        "wasm's memory of {} MiB is full, {bytes} bytes more do not fit; set maxDeviceMemory, or a smaller one, so that \
         less of the model is held at once, or paint a smaller picture",
        in_use() >> 20
    );
    LISTENER.with_borrow(|listener| match listener {
        Some(listener) => {
            let _ = listener.call2(
                &JsValue::UNDEFINED,
                &message.as_str().into(),
                &"device-limit".into(),
            );
        }
        // Another thread than the listener's.
        None => wasm_bindgen::throw_str(&message),
    });
}

/// Bytes of wasm's memory, which never shrinks.
#[cfg(target_family = "wasm")]
fn in_use() -> usize {
    core::arch::wasm32::memory_size(0) * PAGE
}

#[cfg(not(target_family = "wasm"))]
fn in_use() -> usize {
    0
}
