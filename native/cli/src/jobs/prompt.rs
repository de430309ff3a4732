//! The text of the prompt: from the argument, a file or standard input.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use x2i_engine::files::io_error;

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
        return read_limited("standard input", std::io::stdin().lock());
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

/// The text of a file.
///
/// # Errors
/// When it can't be read, is not UTF-8, or is larger than 16 MiB.
pub fn read_prompt_file(path: &Path) -> Result<String> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| io_error(&name, error))
        .context("prompt")?;
    read_limited(&name, file)
}

/// Reads text, without the byte order mark and the line end that editors add.
fn read_limited(name: &str, source: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(MAX_PROMPT_FILE + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("prompt: {name}"))?;
    if bytes.len() as u64 > MAX_PROMPT_FILE {
        bail!(
            "prompt: {name} is larger than {} MiB; is it the right file?",
            MAX_PROMPT_FILE >> 20
        );
    }
    let Some(text) = text::decode(bytes) else {
        bail!("prompt: {name} is not UTF-8 text");
    };
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompt_files_lose_only_what_editors_add() {
        let read = |bytes: &[u8]| read_limited("x", bytes).map_err(|error| error.to_string());
        assert_eq!(
            read("\u{feff} 红苹果 \r\n\n".as_bytes()),
            Ok(" 红苹果 ".into())
        );
        assert_eq!(read(b"\xff"), Err("prompt: x is not UTF-8 text".into()));
        assert!(read_limited("x", std::io::repeat(b'a')).is_err());
    }
}
