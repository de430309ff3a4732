//! Shows how far a download has come: bytes, rate and the time that is left.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use x2i_engine::host::human_bytes;
use x2i_engine::models::hub::{Pulled, Pulling};

use super::display::Display;
use super::interrupt::Interrupt;
use super::reporter::clock;

/// How often a line is printed where there is no terminal, and a JSON event.
const LINE: Duration = Duration::from_secs(10);
const EVENT: Duration = Duration::from_secs(1);

/// A bar or lines for a download, which ends after Ctrl-C.
pub struct PullProgress {
    display: Display,
    interrupt: Interrupt,
    bar: ProgressBar,
    state: Mutex<State>,
}

struct State {
    /// When the first byte of this run came, and how many were there before it.
    begun: Option<(Instant, u64)>,
    told: Instant,
}

impl PullProgress {
    /// A download that has not begun.
    pub fn new(display: Display, interrupt: Interrupt) -> Self {
        let state = State {
            begun: None,
            told: Instant::now(),
        };
        Self {
            display,
            interrupt,
            bar: bar(display),
            state: Mutex::new(state),
        }
    }

    /// Shows how far it has come; `Break` after Ctrl-C.
    pub fn hear(&self, pulled: Pulled) -> ControlFlow<()> {
        if self.interrupt.is_set() {
            self.bar.finish_and_clear();
            return ControlFlow::Break(());
        }
        if pulled.total == 0 {
            return ControlFlow::Continue(()); // nothing is downloaded yet
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (begun, before) = *state.begun.get_or_insert((now, pulled.done));
        let came = pulled.done.saturating_sub(before);
        let rate = came as f64 / (now - begun).as_secs_f64().max(0.001);
        let pause = match self.display {
            Display::Bar => Duration::from_millis(100),
            Display::Json => EVENT,
            Display::Lines | Display::Quiet => LINE,
        };
        if now - state.told >= pause {
            state.told = now;
            self.tell(pulled, rate);
        }
        ControlFlow::Continue(())
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn tell(&self, pulled: Pulled, rate: f64) {
        let Pulled { doing, done, total } = pulled;
        match self.display {
            Display::Bar => {
                self.bar.set_prefix(name(doing));
                self.bar.set_length(total);
                self.bar.set_position(done);
                self.bar.set_message(words(pulled, rate));
            }
            // A closed stderr must not stop the work.
            Display::Lines => drop(writeln!(std::io::stderr(), "{}", words(pulled, rate))),
            Display::Json => {
                let event = json!({
                    "type": "progress",
                    "phase": name(doing),
                    "done": done,
                    "total": total,
                    "bytes_per_second": rate.round(),
                });
                drop(writeln!(std::io::stdout(), "{event}"));
            }
            Display::Quiet => {}
        }
    }
}

/// `1.2 of 24.0 GB, 95 MB/s, 4 min 10 s left`.
fn words(pulled: Pulled, rate: f64) -> String {
    let Pulled { doing, done, total } = pulled;
    let amount = format!("{} of {}", human_bytes(done), human_bytes(total));
    match doing {
        Pulling::Verify => format!("{amount}, comparing hashes"),
        Pulling::Wait => format!("{amount}, waiting for the server"),
        Pulling::Ask | Pulling::Download => {
            let mut words = format!("{amount}, {}/s", human_bytes(rate as u64));
            if rate >= 1.0 && done < total {
                let left = Duration::from_secs_f64((total - done) as f64 / rate);
                words.push_str(&format!(", {} left", clock(left)));
            }
            words
        }
    }
}

fn name(doing: Pulling) -> &'static str {
    match doing {
        Pulling::Ask => "ask",
        Pulling::Download => "pull",
        Pulling::Wait => "wait",
        Pulling::Verify => "verify",
    }
}

fn bar(display: Display) -> ProgressBar {
    let target = match display {
        Display::Bar => ProgressDrawTarget::stderr(),
        _ => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    match ProgressStyle::with_template("{prefix:>6} {bar:28.cyan/dim} {msg}") {
        Ok(style) => bar.with_style(style.progress_chars("━╸─")),
        Err(_) => bar, // the template is valid; the default style would do
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_says_how_much_how_fast_and_how_long() {
        let pulled = |doing, done| Pulled {
            doing,
            done,
            total: 24_000_000_000,
        };
        let words = |doing, done, rate| words(pulled(doing, done), rate);
        assert_eq!(
            words(Pulling::Download, 4_000_000_000, 100e6),
            "4.0 GB of 24.0 GB, 100 MB/s, 3 min 21 s left"
        );
        assert_eq!(words(Pulling::Download, 0, 0.0), "0 B of 24.0 GB, 0 B/s");
        assert!(words(Pulling::Verify, 1, 1e6).ends_with("comparing hashes"));
    }
}
