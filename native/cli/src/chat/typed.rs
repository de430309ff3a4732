//! Parses an input line: text, or a command that begins with `/`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use x2i_engine::Kind;

use crate::flags::paths::expand;

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// Only white space.
    Nothing,
    /// The text of a turn.
    Words(String),
    /// A file for the next turn.
    Show(Kind, PathBuf),
    /// Set the seed; `None` is a random one.
    Seed(Option<u64>),
    /// Remove the files for the next turn, or else the last turn.
    Undo,
    /// Print the turns.
    History,
    /// Write the session file, to this path if given.
    Save(Option<PathBuf>),
    /// List the commands.
    Help,
    /// End.
    Quit,
}

impl Typed {
    /// Parses a line.
    ///
    /// # Errors
    /// For an unknown command, or a missing or wrong argument.
    pub fn parse(line: &str) -> Result<Self> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(Self::Nothing);
        }
        let Some(command) = line.strip_prefix('/') else {
            return Ok(Self::Words(line.to_owned()));
        };
        let (name, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("image" | "video" | "audio", "") => {
                bail!("/{name}: needs a file, as in: /{name} FILE")
            }
            ("image", file) => Ok(Self::Show(Kind::Image, path(file))),
            ("video", file) => Ok(Self::Show(Kind::Video, path(file))),
            ("audio", file) => Ok(Self::Show(Kind::Audio, path(file))),
            ("seed", "") => Ok(Self::Seed(None)),
            ("seed", number) => match number.parse() {
                Ok(seed) => Ok(Self::Seed(Some(seed))),
                Err(_) => bail!("/seed: `{number}` is not a whole number of at least 0"),
            },
            ("save", "") => Ok(Self::Save(None)),
            ("save", file) => Ok(Self::Save(Some(path(file)))),
            ("undo", "") => Ok(Self::Undo),
            ("history", "") => Ok(Self::History),
            ("help", "") => Ok(Self::Help),
            ("quit" | "exit", "") => Ok(Self::Quit),
            _ => bail!("/{command}: is not a command; /help lists them"),
        }
    }
}

/// A path, without the quotes that some terminals put around a dropped file.
fn path(text: &str) -> PathBuf {
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.is_empty()).then_some(inner)
    });
    expand(Path::new(quoted.unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_begin_with_a_slash_and_all_else_is_words() {
        let parse = |line| Typed::parse(line).unwrap();
        assert_eq!(parse("  "), Typed::Nothing);
        assert_eq!(parse(" a cat "), Typed::Words("a cat".into()));
        assert_eq!(
            parse("/image my cat.png"),
            Typed::Show(Kind::Image, "my cat.png".into())
        );
        assert_eq!(
            parse("/image 'my cat.png'"),
            Typed::Show(Kind::Image, "my cat.png".into())
        );
        assert_eq!(parse("/seed 7"), Typed::Seed(Some(7)));
        assert_eq!(parse("/seed"), Typed::Seed(None));
        assert_eq!(parse("/save"), Typed::Save(None));
        assert_eq!(parse("/save a.json"), Typed::Save(Some("a.json".into())));
        assert_eq!(parse("/undo"), Typed::Undo);
        assert_eq!(parse("/exit"), Typed::Quit);
    }

    #[test]
    fn what_is_no_command_says_so() {
        for line in [
            "/", "/imag", "/seed x", "/seed -1", "/image", "/undo 3", "/Quit",
        ] {
            let message = Typed::parse(line).unwrap_err().to_string();
            assert!(message.starts_with('/'), "{message}");
        }
    }
}
