//! What a sample's JSON and caption file say.

use serde_json::{Map, Value};

use super::problem::Problem;

/// The most bytes of a sample's JSON or caption file.
pub(super) const MOST_BYTES: u64 = 16 << 20;

/// What UTF-8 files of some editors begin with.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// As much of a caption as encoders of 512 tokens read: its first 512 words, of at most 4096 characters.
pub(crate) fn first_words(caption: &str) -> &str {
    const WORDS: usize = 512;
    const CHARACTERS: usize = 4096;
    let mut words = caption.split_whitespace();
    let cut = match (words.nth(WORDS - 1), words.next()) {
        (Some(last), Some(_)) => last.as_ptr() as usize + last.len() - caption.as_ptr() as usize,
        _ => caption.len(),
    };
    let caption = &caption[..cut];
    match caption.char_indices().nth(CHARACTERS) {
        Some((end, _)) => &caption[..end],
        None => caption,
    }
}

/// The fields of a JSON object; of a repeated name the last counts.
///
/// # Errors
/// [`Problem::BadJson`].
pub(super) fn fields(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let bad = |reason: String| Problem::BadJson(reason);
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8".into()))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(bad("it is no object".into())),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// A caption file's text without the space around it.
///
/// # Errors
/// [`Problem::BadText`].
pub(super) fn caption(bytes: &[u8]) -> Result<String, Problem> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| Problem::BadText)?;
    Ok(text.trim().to_owned())
}

/// The first of these fields that is a text and not blank.
pub(super) fn field<'a>(fields: &'a Map<String, Value>, keys: &[String]) -> Option<&'a str> {
    let texts = keys.iter().filter_map(|key| fields.get(key)?.as_str());
    texts.into_iter().find(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_captions_are_cut_after_their_words_and_others_stay() {
        let long = "a b  ".repeat(5000);
        assert_eq!(first_words(&long).split_whitespace().count(), 512);
        assert!(first_words(&long).ends_with('b'));
        assert_eq!(first_words(&"猫".repeat(9000)).chars().count(), 4096);
        for same in ["", " a cat ", "ein Haus am See"] {
            assert_eq!(first_words(same), same);
        }
    }
}
