//! Text files of people: UTF-8 or UTF-16, with any byte order mark and any line ends.

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
