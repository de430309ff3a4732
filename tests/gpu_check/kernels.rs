//! `check-kernels`: the tests of `shaders/tests`, which `build.rs` copies into this program.

use std::any::Any;
use std::io::Write;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;
use x2i_engine::device::{DeviceChoice, Precision};

use crate::devices;

/// One test of a kernel.
pub struct Test {
    /// The file and the function: `gelu::extremes`.
    pub name: &'static str,
    /// The function. It panics when the test fails.
    pub run: fn(),
    /// What the message of its panic holds, for a test that has to panic.
    pub panics: Option<&'static str>,
}

// `TESTS`, and the modules that hold them.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// Runs all tests on the CPU and the device, several at a time; returns whether none failed.
///
/// # Errors
/// When the device can't be opened.
pub fn run(device: DeviceChoice, precision: Precision) -> Result<bool, String> {
    let name = devices::open(device, precision)?;
    say(&json!({"device": name, "tests": TESTS.iter().map(|tests| tests.len()).sum::<usize>()}));
    // A panic is the answer of a test, and its message is in the line.
    std::panic::set_hook(Box::new(|_| {}));
    let tests: Vec<&Test> = TESTS.iter().copied().flatten().collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !test.passes() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Ok(failed.into_inner() == 0)
}

impl Test {
    /// Runs it and prints its line.
    fn passes(&self) -> bool {
        let began = Instant::now();
        let message = catch_unwind(self.run).err().map(|panic| text(&*panic));
        let failure = match (self.panics, message) {
            (None, message) => message,
            (Some(expected), Some(message)) if message.contains(expected) => None,
            (Some(expected), message) => Some(format!("no panic with `{expected}`: {message:?}")),
        };
        say(&json!({
            "test": self.name,
            "passed": failure.is_none(),
            "seconds": began.elapsed().as_secs_f64(),
            "failure": failure,
        }));
        failure.is_none()
    }
}

/// The message of a panic.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_else(|| "a panic without a message".into())
}

/// Prints a line at once.
pub fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    // Whoever closed the pipe does not want the rest.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
