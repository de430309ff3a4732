//! The text of the prompt: from the argument, a file or standard input.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::text;
use crate::flags::{flag_of, paths::expand};

/// The largest prompt file, in bytes: a larger one is surely another file.
const MAX_PROMPT_FILE: u64 = 16 << 20;

/// The text of the prompt argument: `-` reads standard input, `@FILE` a file that exists.
///
/// # Errors
/// As [`read_prompt_file`]; for the name of a picture, a video or a sound, which was surely meant.
pub fn prompt_text(prompt: &str) -> Result<String> {
    if prompt == "-" {
        return read_prompt_file(Path::new("-"));
    }
    if let Some(file) = prompt.strip_prefix('@') {
        let file = expand(Path::new(file));
        // A name of one word that ends so is no greeting.
        let is_text_file = !prompt.contains(char::is_whitespace) && prompt.ends_with(".txt");
        if is_text_file || file.exists() {
            return read_prompt_file(&file);
        }
    }
    if let Some(flag) = flag_of(Path::new(prompt))
        && expand(Path::new(prompt)).is_file()
    {
        bail!(
            "prompt: `{prompt}` is a file; did you mean {flag} {prompt}? To paint these words, give them \
             with --text"
        );
    }
    if prompt.ends_with(".txt") && Path::new(prompt).is_file() {
        return read_prompt_file(Path::new(prompt));
    }
    Ok(prompt.to_owned())
}

/// The text of a file, without the byte order mark and the line end that editors add; `-` is the standard
/// input.
///
/// # Errors
/// As [`text::read`], for files larger than 16 MiB.
pub fn read_prompt_file(path: &Path) -> Result<String> {
    let text = text::read(path, MAX_PROMPT_FILE).context("prompt")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_files_lose_only_what_editors_add() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompt.txt");
        std::fs::write(&path, "\u{feff} 红苹果 \r\n\n").unwrap();
        assert_eq!(read_prompt_file(&path).unwrap(), " 红苹果 ");
        let missing = read_prompt_file(&folder.path().join("none")).unwrap_err();
        assert!(format!("{missing:#}").starts_with("prompt: "));
    }
}
