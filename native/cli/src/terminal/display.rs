//! How a command tells what it does: a bar, lines, JSON or nothing; and its warnings.

use std::io::{IsTerminal, Write};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// One bar on a terminal.
    Bar,
    /// A line a phase or step.
    Lines,
    /// One JSON object an event, on stdout.
    Json,
    /// Nothing.
    Quiet,
}

impl Display {
    /// What fits the flags and the terminal.
    pub fn choose(quiet: bool, json: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (_, true) => Self::Quiet,
            _ if std::io::stderr().is_terminal() => Self::Bar,
            _ => Self::Lines,
        }
    }

    /// Prints warnings, a line each; nothing where little shall be said.
    pub fn warn(self, warnings: impl IntoIterator<Item = String>) {
        if self == Self::Quiet {
            return;
        }
        for warning in warnings {
            let _ = writeln!(std::io::stderr(), "warning: {warning}");
        }
    }
}
