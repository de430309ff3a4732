//! JSON as Python and Windows write it: behind a byte order mark, with `NaN` and `Infinity`.

use std::borrow::Cow;

/// What UTF-8 files of some editors begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Python's words for numbers that JSON does not have.
const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// The same as JSON of the standard: without the mark, and with those words as strings, so that a key
/// which nobody reads may have them, and one that is read refuses them by their name.
pub(crate) fn plain_json(json: &[u8]) -> Cow<'_, [u8]> {
    let json = json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json);
    let mut plain: Option<Vec<u8>> = None;
    let (mut at, mut in_string) = (0, false);
    while let Some(&byte) = json.get(at) {
        let word = match in_string {
            true => None,
            false => WORDS.into_iter().find(|word| json[at..].starts_with(word)),
        };
        let taken = match (word, byte) {
            (Some(word), _) => word.len(),
            (None, b'\\') if in_string => 2.min(json.len() - at),
            (None, b'"') => {
                in_string = !in_string;
                1
            }
            _ => 1,
        };
        if word.is_some() && plain.is_none() {
            plain = Some(json[..at].to_vec());
        }
        if let Some(plain) = &mut plain {
            let quote: &[u8] = if word.is_some() { b"\"" } else { b"" };
            plain.extend_from_slice(quote);
            plain.extend_from_slice(&json[at..at + taken]);
            plain.extend_from_slice(quote);
        }
        at += taken;
    }
    plain.map_or(Cow::Borrowed(json), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn pythons_words_become_strings_outside_of_strings_alone() {
        let text = b"\xEF\xBB\xBF{\"a\": NaN, \"b\": [Infinity, -Infinity, -1], \"NaN\": \"Infinity \\\" NaN\\\\\"}";
        let value: Value = serde_json::from_slice(&plain_json(text)).unwrap();
        assert_eq!(
            value,
            json!({"a": "NaN", "b": ["Infinity", "-Infinity", -1], "NaN": "Infinity \" NaN\\"})
        );
    }

    #[test]
    fn what_is_json_already_is_not_copied() {
        let text = br#"{"a": "NaN \" Infinity", "b": 1e5}"#;
        assert!(matches!(plain_json(text), Cow::Borrowed(same) if same == text));
        // Broken JSON stays what it is.
        for broken in [&b"\"abc\\"[..], b"", b"{\"a"] {
            assert_eq!(&*plain_json(broken), broken);
        }
    }
}
