//! Paths in flags and batch files: `~` is the home folder where the shell left it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser;
use clap::{Arg, Command};

/// A path with the home folder in place of a leading `~`. A file that has this name itself is meant.
pub fn expand(path: &Path) -> PathBuf {
    match path.strip_prefix("~") {
        Ok(rest) if !path.exists() => match std::env::home_dir() {
            Some(home) => home.join(rest),
            None => path.to_owned(),
        },
        _ => path.to_owned(),
    }
}

/// [`expand`] of text.
pub fn expand_text(text: &str) -> String {
    match text.starts_with('~') {
        true => expand(Path::new(text)).display().to_string(),
        false => text.to_owned(),
    }
}

/// Reads a path, as [`expand`].
#[derive(Debug, Clone, Copy)]
pub struct PathParser;

impl TypedValueParser for PathParser {
    type Value = PathBuf;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<PathBuf, clap::Error> {
        let parser = clap::builder::PathBufValueParser::new();
        let path = parser.parse_ref(command, argument, value)?;
        let is_slash = value.as_encoded_bytes().ends_with(b"/");
        let expanded = expand(&path);
        Ok(match is_slash && expanded != path {
            true => expanded.join(""), // `~/new/` stays a folder
            false => expanded,
        })
    }
}

/// A model's name or folder, as [`expand`].
///
/// # Errors
/// Never; clap's signature.
pub fn place(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(expand_text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_tilde_is_the_home_folder() {
        let home = std::env::home_dir().unwrap();
        assert_eq!(expand(Path::new("~/a.png")), home.join("a.png"));
        assert_eq!(expand(Path::new("~")), home);
        for path in ["a~", "~a/b", "a/~", ""] {
            assert_eq!(expand(Path::new(path)), Path::new(path));
        }
        assert_eq!(expand_text("emoji"), "emoji");
    }
}
