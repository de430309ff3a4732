//! Input lines: with editing and history on a terminal, plain from a pipe.

use std::io::{BufRead, ErrorKind, IsTerminal, Read, StdinLock};

use anyhow::{Result, bail};
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;

/// The longest line of a pipe, in bytes, as of a prompt file.
const LONGEST: u64 = 16 << 20;

/// The source of lines.
pub enum Lines {
    /// A terminal; the arrow keys recall earlier lines.
    Terminal(Box<Editor>),
    /// A pipe or a file.
    Pipe(StdinLock<'static>),
}

/// rustyline holds the terminal from its prompt to the end of a line, so no Ctrl-C is lost between two keys.
type Editor = rustyline::Editor<(), MemHistory>;

/// A line, or the reason why there is none.
pub enum Line {
    /// Text without its line end.
    Typed(String),
    /// Ctrl-C.
    Interrupted,
    /// No more lines.
    End,
}

impl Lines {
    /// Standard input.
    ///
    /// # Errors
    /// When the terminal can't be opened.
    pub fn open() -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe(std::io::stdin().lock()));
        }
        let config = Config::builder()
            .auto_add_history(true)
            // Lines are edited even when standard output is a file.
            .behavior(Behavior::PreferTerm)
            .build();
        let history = MemHistory::with_config(&config);
        let editor = Editor::with_history(config, history)?;
        Ok(Self::Terminal(Box::new(editor)))
    }

    /// True when lines come from a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Waits for the next line.
    ///
    /// # Errors
    /// When standard input can't be read or is not UTF-8, or a line is too long.
    pub fn next(&mut self) -> Result<Line> {
        match self {
            Self::Terminal(editor) => match editor.readline("> ") {
                Ok(line) => Ok(Line::Typed(line)),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                // Ctrl-D, or the terminal was closed.
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    Ok(Line::End)
                }
                Err(error) => Err(error.into()),
            },
            Self::Pipe(stdin) => {
                let mut line = String::new();
                match stdin.take(LONGEST + 1).read_line(&mut line)? {
                    0 => Ok(Line::End),
                    bytes if bytes as u64 > LONGEST => {
                        bail!(
                            "standard input: a line is longer than {} MiB",
                            LONGEST >> 20
                        )
                    }
                    _ => Ok(Line::Typed(line.trim_end_matches(['\r', '\n']).to_owned())),
                }
            }
        }
    }
}
