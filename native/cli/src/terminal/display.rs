//! Chooses how progress is shown (a bar, lines, JSON or nothing), and prints warnings.

use std::io::{IsTerminal, Write};

use super::text::printable;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// One bar on a terminal.
    Bar,
    /// One line per phase and step.
    Lines,
    /// One JSON object per event, on stdout.
    Json,
    /// Nothing.
    Quiet,
}

impl Display {
    /// The choice for these flags and this terminal.
    pub fn choose(quiet: bool, json: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (_, true) => Self::Quiet,
            _ if std::io::stderr().is_terminal() => Self::Bar,
            _ => Self::Lines,
        }
    }

    /// Prints warnings, one line each; nothing if `Quiet`.
    pub fn warn(self, warnings: impl IntoIterator<Item = String>) {
        if self == Self::Quiet {
            return;
        }
        for warning in warnings {
            let _ = writeln!(std::io::stderr(), "warning: {}", printable(&warning));
        }
    }
}
