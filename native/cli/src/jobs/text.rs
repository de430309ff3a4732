//! Text files of people: UTF-8 or UTF-16, with any byte order mark and any line ends.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use x2i_engine::files::{io_error, open_stream};

/// The text of a file of at most `most` bytes; `-` is the standard input. A larger one is surely another
/// file, and is not read.
///
/// # Errors
/// When it is no file with an end, can't be read, is larger, or is no text; each names it.
pub fn read(path: &Path, most: u64) -> Result<String> {
    if path == Path::new("-") {
        return read_limited("standard input", std::io::stdin().lock(), most);
    }
    let name = path.display().to_string();
    let file = open_stream(path).map_err(|error| io_error(&name, error))?;
    let metadata = file.metadata().map_err(|error| io_error(&name, error))?;
    if metadata.is_dir() {
        bail!("{name}: is a folder");
    }
    match metadata.len() > most {
        true => Err(too_large(&name, most)),
        false => read_limited(&name, file, most),
    }
}

/// The text of a source of at most `most` bytes.
///
/// # Errors
/// As [`read`].
pub fn read_limited(name: &str, source: impl Read, most: u64) -> Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(most + 1).read_to_end(&mut bytes);
    read.with_context(|| name.to_owned())?;
    if bytes.len() as u64 > most {
        return Err(too_large(name, most));
    }
    decode(bytes).with_context(|| format!("{name}: is not UTF-8 text"))
}

fn too_large(name: &str, most: u64) -> anyhow::Error {
    let most = most >> 20;
    anyhow::anyhow!("{name}: is larger than {most} MiB; is it the right file?")
}

/// The text of a file: without a byte order mark, and with `\n` at every line's end, so that a file from
/// Windows gives the same image. `None` when it is no text.
pub fn decode(bytes: Vec<u8>) -> Option<String> {
    let text = match bytes.as_slice() {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        _ => String::from_utf8(bytes).ok()?,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Some(text.replace("\r\n", "\n"))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().map(|bytes| unit(*bytes)).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_an_end_within_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let refused = |path: &Path| format!("{:#}", read(path, 1 << 20).unwrap_err());
        std::fs::write(&path, vec![b'a'; 1 << 20]).unwrap();
        assert_eq!(read(&path, 1 << 20).unwrap().len(), 1 << 20);
        std::fs::write(&path, vec![b'a'; (1 << 20) + 1]).unwrap();
        assert!(refused(&path).ends_with("a.txt: is larger than 1 MiB; is it the right file?"));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(refused(&path).ends_with("a.txt: is not UTF-8 text"));
        assert!(refused(folder.path()).ends_with(": is a folder"));
        assert!(read_limited("x", std::io::repeat(b'a'), 1 << 20).is_err());
    }

    #[test]
    fn all_forms_of_a_text_are_one() {
        let text = "红苹果\na b";
        let crlf = text.replace('\n', "\r\n");
        let utf16 = |mark: u16, unit: fn(u16) -> [u8; 2]| {
            let units = std::iter::once(mark).chain(crlf.encode_utf16());
            units.flat_map(unit).collect::<Vec<u8>>()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            crlf.as_bytes().to_vec(),
            format!("\u{feff}{crlf}").into_bytes(),
            utf16(0xfeff, u16::to_le_bytes),
            utf16(0xfeff, u16::to_be_bytes),
        ] {
            assert_eq!(decode(bytes).as_deref(), Some(text));
        }
        assert_eq!(decode(b"\xff".to_vec()), None);
        assert_eq!(decode(b"\xff\xfea".to_vec()), None);
        assert_eq!(decode(b"a\rb".to_vec()).as_deref(), Some("a\rb"));
    }
}
