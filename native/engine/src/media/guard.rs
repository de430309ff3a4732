//! Decoders of other crates, whose panics end the reading of a file and nothing else.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// True while this thread decodes.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder that a broken file may make panic; `None` when it does. Such a panic is the file's
/// fault and prints nothing; those of other threads and of other work are printed as before.
pub fn guarded<T>(decode: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            if !DECODING.get() {
                print(panic);
            }
        }));
    });
    DECODING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(decode)).ok();
    DECODING.set(false);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_no_value_and_the_next_decoder_runs() {
        let broken: Option<u8> = guarded(|| panic!("a decoder's bug"));
        assert_eq!((broken, guarded(|| 3)), (None, Some(3)));
        assert!(!DECODING.get());
    }
}
