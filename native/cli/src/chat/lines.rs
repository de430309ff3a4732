//! Input lines: with editing and history on a terminal, plain from a pipe.

use std::fmt;
use std::io::{BufRead, ErrorKind, IsTerminal, StdinLock};

use anyhow::Result;
use dialoguer::theme::Theme;
use dialoguer::{BasicHistory, Input};

/// The source of lines.
pub enum Lines {
    /// A terminal; the arrow keys recall earlier lines.
    Terminal(BasicHistory),
    /// A pipe or a file.
    Pipe(StdinLock<'static>),
}

/// A line, or the reason why there is none.
pub enum Line {
    /// Text without its line end.
    Typed(String),
    /// Ctrl-C.
    Interrupted,
    /// No more lines.
    End,
}

/// A prompt of `> `, also after the line is entered.
struct Arrow;

impl Theme for Arrow {
    fn format_input_prompt(
        &self,
        f: &mut dyn fmt::Write,
        _prompt: &str,
        _default: Option<&str>,
    ) -> fmt::Result {
        f.write_str("> ")
    }

    fn format_input_prompt_selection(
        &self,
        f: &mut dyn fmt::Write,
        _prompt: &str,
        line: &str,
    ) -> fmt::Result {
        write!(f, "> {line}")
    }
}

impl Lines {
    /// Standard input.
    pub fn open() -> Self {
        match std::io::stdin().is_terminal() {
            true => Self::Terminal(BasicHistory::new().no_duplicates(true)),
            false => Self::Pipe(std::io::stdin().lock()),
        }
    }

    /// True when lines come from a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Waits for the next line.
    ///
    /// # Errors
    /// When standard input can't be read or is not UTF-8.
    pub fn next(&mut self) -> Result<Line> {
        match self {
            Self::Terminal(history) => {
                let input = Input::<String>::with_theme(&Arrow).allow_empty(true);
                match input.history_with(history).interact_text() {
                    Ok(line) => Ok(Line::Typed(line)),
                    Err(dialoguer::Error::IO(error)) => match error.kind() {
                        ErrorKind::Interrupted => Ok(Line::Interrupted),
                        // The terminal was closed.
                        ErrorKind::NotConnected | ErrorKind::UnexpectedEof => Ok(Line::End),
                        _ => Err(error.into()),
                    },
                }
            }
            Self::Pipe(stdin) => {
                let mut line = String::new();
                match stdin.read_line(&mut line)? {
                    0 => Ok(Line::End),
                    _ => Ok(Line::Typed(line.trim_end_matches(['\r', '\n']).to_owned())),
                }
            }
        }
    }
}
