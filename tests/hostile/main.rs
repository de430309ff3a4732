//! Malformed models and media, each given to the real program under limits of memory and time.
//!
//! No panic, no abort, no hang. A refusal is one sentence that names the file, and the key or tensor where one
//! is wrong. `doctor` and `convert` never accept what `generate` refuses. What must be refused is refused.
//!
//!     cargo test --release --test hostile -- --nocapture                     two minutes of cases, in CI
//!     X2I_HOSTILE=all cargo test --release --test hostile -- --nocapture     all of them, and a table
//!
//! The cases are the same in every run: mutations are drawn by a seeded generator. docs/RELIABILITY.md has the
//! table of a whole run.

#![cfg(unix)] // ulimit, links and FIFOs

mod base;
mod case;
mod json;
mod media;
mod models;
mod random;
mod report;
mod run;
mod weights;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use case::Case;
use random::Random;
use report::Report;

/// The time for a sample of each half.
const SAMPLE: Duration = Duration::from_secs(60);

/// Every case when `X2I_HOSTILE=all`, else as many as fit into [`SAMPLE`], in a shuffled order.
fn run(mut cases: Vec<Case>, least: usize) {
    assert!(cases.len() >= least, "{} cases of {least}", cases.len());
    let all = std::env::var("X2I_HOSTILE").is_ok_and(|value| value == "all");
    Random::new(1).shuffle(&mut cases);
    let (start, next) = (Instant::now(), AtomicUsize::new(0));
    let report = Mutex::new(Report::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while all || start.elapsed() < SAMPLE {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { break };
                    let outcome = case.run();
                    report.lock().expect("no worker panics").add(case, outcome);
                }
            });
        }
    });
    report.into_inner().expect("no worker panics").finish();
}

#[test]
fn malformed_models_are_refused_or_painted() {
    run(models::cases(), 1000);
}

#[test]
fn malformed_media_are_refused_or_read() {
    run(media::cases(), 300);
}
