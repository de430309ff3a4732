//! Files that are named by a URL: `file://`, and `data:` with the file in it.
//!
//! Sources: RFC 8089 and RFC 2397. Left out: downloads.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use tempfile::TempPath;
use x2i_core::{Error, Result};

use super::open::io_error;

/// The longest `data:` URL, in bytes: metadata has it whole.
pub const MAX_DATA_URL: usize = 16 << 20;

/// A temporary file of a `data:` URL. It is removed with the last name of it.
#[derive(Debug, Clone)]
pub(super) struct Held(Arc<TempPath>);

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        **self.0 == **other.0
    }
}

impl Eq for Held {}

/// The path that a name stands for, and what keeps it.
///
/// # Errors
/// [`Error::Format`] for a URL that can't be read, or that asks for a download; [`Error::Io`].
pub(super) fn resolve(name: &Path) -> Result<(PathBuf, Option<Held>)> {
    let plain = || Ok((name.to_owned(), None));
    let Some(text) = name.to_str() else {
        return plain();
    };
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest)) if scheme.len() > 1 => (scheme.to_ascii_lowercase(), rest),
        _ => return plain(),
    };
    match (scheme.as_str(), rest.strip_prefix("//")) {
        ("file", Some(rest)) => Ok((file_path(rest), None)),
        ("data", _) if rest.contains(',') => {
            let held = hold(rest).map_err(|reason| Error::format(shortened(text), reason))?;
            Ok((held.0.to_path_buf(), Some(held)))
        }
        ("http" | "https" | "ftp", Some(_)) => Err(Error::format(
            text,
            "x2i does not download files; save it, and give the file",
        )),
        _ => plain(),
    }
}

/// The path of `file://rest`, which may name this host.
fn file_path(rest: &str) -> PathBuf {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    let path = unescaped(path);
    // file:///C:/a.png
    let drive = matches!(path.as_slice(), [b'/', _, b':', ..]) && cfg!(windows);
    let path = path[usize::from(drive)..].to_vec();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        PathBuf::from(std::ffi::OsString::from_vec(path))
    }
    #[cfg(not(unix))]
    {
        PathBuf::from(String::from_utf8_lossy(&path).into_owned())
    }
}

/// Bytes without percent signs' escapes.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    plain
}

/// The file of a URL after `data:`.
fn hold(rest: &str) -> Result<Held, String> {
    if rest.len() > MAX_DATA_URL {
        return Err(format!(
            "has {} bytes; a data URL has at most {MAX_DATA_URL}: save it to a file",
            rest.len()
        ));
    }
    let (kind, data) = rest.split_once(',').unwrap_or_default();
    let data = unescaped(data);
    let bytes = match kind.ends_with(";base64") {
        false => data,
        true => {
            let text = data.into_iter().filter(|byte| !byte.is_ascii_whitespace());
            let padding = DecodePaddingMode::Indifferent;
            let config = GeneralPurposeConfig::new().with_decode_padding_mode(padding);
            let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
            let decoded = engine.decode(text.collect::<Vec<u8>>());
            decoded.map_err(|error| format!("is not base64: {error}"))?
        }
    };
    let file = tempfile::Builder::new().prefix("x2i-data-url-").tempfile();
    let written = file.and_then(|mut file| file.write_all(&bytes).map(|()| file));
    let file = written.map_err(|error| io_error("a temporary file", error).to_string())?;
    Ok(Held(Arc::new(file.into_temp_path())))
}

/// The beginning of a URL, for messages.
fn shortened(url: &str) -> String {
    match url.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &url[..end]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        resolve(Path::new(name)).unwrap().0
    }

    #[test]
    fn urls_of_files_are_paths() {
        assert_eq!(
            path("file:///a%20b/%E7%8C%AB.png"),
            Path::new("/a b/猫.png")
        );
        assert_eq!(path("file://localhost/a.png"), Path::new("/a.png"));
        assert_eq!(path("FILE:///100%.png"), Path::new("/100%.png"));
        for name in ["a.png", "C:\\a.png", "a:b.png", "data:", "x2i:y,z"] {
            assert_eq!(path(name), Path::new(name));
        }
    }

    #[test]
    fn urls_with_data_are_files_while_they_are_held() {
        let (path, held) = resolve(Path::new("data:image/png;base64,aGVs\nbG8")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        drop(held);
        assert!(!path.exists());
        let (path, _held) = resolve(Path::new("data:,a%20b,c")).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"a b,c");
    }

    #[test]
    fn urls_that_can_not_be_read_say_why() {
        let message = |name: &str| resolve(Path::new(name)).unwrap_err().to_string();
        assert!(message("https://x.org/a.png").contains("does not download"));
        let broken = message(&format!("data:image/png;base64,{}", "?".repeat(1000)));
        assert!(
            broken.contains("is not base64") && broken.len() < 200,
            "{broken}"
        );
        let long = message(&format!("data:,{}", "a".repeat(MAX_DATA_URL)));
        assert!(
            long.contains("at most 16777216") && long.len() < 200,
            "{long}"
        );
    }
}
