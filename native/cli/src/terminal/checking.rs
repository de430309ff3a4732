//! Shows how far the check of a model has come.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Once;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use x2i_engine::host::human_bytes;
use x2i_engine::models::Checked;

use super::display::Display;
use super::interrupt::Interrupt;

/// A check of fewer bytes takes a moment, and is not worth a line.
const LONG: u64 = 256 << 20;

/// A bar or a line for a check, which ends after Ctrl-C.
pub struct Checking {
    display: Display,
    interrupt: Interrupt,
    bar: ProgressBar,
    begun: Once,
}

impl Checking {
    /// A check that has not begun.
    pub fn new(display: Display, interrupt: Interrupt) -> Self {
        Self {
            display,
            interrupt,
            bar: bar(display),
            begun: Once::new(),
        }
    }

    /// Shows how far the check has come; `Break` after Ctrl-C.
    pub fn hear(&self, checked: Checked) -> ControlFlow<()> {
        if self.interrupt.is_set() {
            self.bar.finish_and_clear();
            return ControlFlow::Break(());
        }
        self.begun.call_once(|| self.begin(checked.total));
        self.bar.set_position(checked.done);
        if checked.done >= checked.total {
            self.bar.finish_and_clear();
        }
        ControlFlow::Continue(())
    }

    fn begin(&self, total: u64) {
        self.bar.set_length(total);
        if self.display == Display::Lines && total >= LONG {
            let bytes = human_bytes(total);
            // A closed stderr must not stop the work.
            let _ = writeln!(std::io::stderr(), "checking new files: {bytes} to read");
        }
    }
}

fn bar(display: Display) -> ProgressBar {
    let target = match display {
        Display::Bar => ProgressDrawTarget::stderr(),
        _ => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target).with_prefix("check");
    let style = ProgressStyle::with_template(
        "{prefix:>6} {bar:28.cyan/dim} {bytes}/{total_bytes}, {eta} left",
    );
    match style {
        Ok(style) => bar.with_style(style.progress_chars("━╸─")),
        Err(_) => bar, // the template is valid; the default style would do
    }
}
