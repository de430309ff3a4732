//! The prompt strings of the X2I scripts: `str(dict)` in Python, so `repr` quoting matters.
//!
//! The weights were trained on these exact strings; another quote gives other tokens. Sources:
//! `x2i_comfyui/model.py`, `infer/inference_internvl.py`, `utils/datamodule_*.py` and
//! `utils/datamodule_lightcontrol.py` of OPPO's X2I; `unicode_repr` of CPython 3.11.

use std::fmt::Write;

use unicode_general_category::{GeneralCategory, get_general_category};

/// Python 3.11's `repr` of a `str`.
///
/// Single quotes, unless the text has an apostrophe and no double quote; escapes for backslash,
/// control, separator and otherwise non-printable characters.
pub fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut repr = String::with_capacity(text.len() + 2);
    repr.push(quote);
    for character in text.chars() {
        push_escaped(&mut repr, character, quote);
    }
    repr.push(quote);
    repr
}

fn push_escaped(repr: &mut String, character: char, quote: char) {
    let code = u32::from(character);
    // Writing to a String can't fail.
    let _ = match character {
        '\\' => repr.write_str("\\\\"),
        '\n' => repr.write_str("\\n"),
        '\r' => repr.write_str("\\r"),
        '\t' => repr.write_str("\\t"),
        _ if character == quote => write!(repr, "\\{quote}"),
        _ if is_printable(character) => repr.write_char(character),
        _ if code <= 0xff => write!(repr, "\\x{code:02x}"),
        _ if code <= 0xffff => write!(repr, "\\u{code:04x}"),
        _ => write!(repr, "\\U{code:08x}"),
    };
}

/// Python's `str.isprintable` for one character: neither "other" nor a separator but the space.
fn is_printable(character: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate,
        Unassigned,
    };
    character == ' '
        || !matches!(
            get_general_category(character),
            Control
                | Format
                | Surrogate
                | PrivateUse
                | Unassigned
                | LineSeparator
                | ParagraphSeparator
                | SpaceSeparator
        )
}

/// Whether the prompt has images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pictures {
    /// Text alone.
    None,
    /// At least one image.
    Some,
}

/// `str(dict)` of keys and values that are `repr`s already.
fn python_dict(items: &[(&str, &str)]) -> String {
    let items: Vec<String> = items
        .iter()
        .map(|(key, value)| format!("{}: {value}", python_repr(key)))
        .collect();
    format!("{{{}}}", items.join(", "))
}

/// The ComfyUI node's string.
pub fn comfy(text: &str, pictures: Pictures) -> String {
    let image_input = match pictures {
        Pictures::None => "'no'",
        Pictures::Some => "'yes'",
    };
    python_dict(&[
        ("Text input", &python_repr(text)),
        ("Instruction editing description", "''"),
        ("image input", image_input),
    ])
}

/// The InternVL script's string; without text it says `None`, unquoted.
pub fn internvl(text: Option<&str>) -> String {
    let text = text.map_or_else(|| "None".to_owned(), python_repr);
    python_dict(&[
        ("Text input", &text),
        ("Instruction editing description", "'no'"),
    ])
}

/// The LLM's prompt in AlignNet's training.
pub fn training(text: &str) -> String {
    python_dict(&[
        ("Text input", &python_repr(text)),
        ("Instruction editing description", "'no'"),
        ("image input", "'no'"),
    ])
}

/// The LLM's prompt in LightControl's training.
pub fn light_control(instruction: &str) -> String {
    python_dict(&[
        ("文本描述", "''"),
        ("指令编辑描述", &python_repr(instruction)),
        ("图片输入", "'有'"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repr_quotes_and_escapes_as_python_does() {
        let cases = [
            ("", "''"),
            ("a cat", "'a cat'"),
            ("it's", "\"it's\""),
            ("say \"hi\"", "'say \"hi\"'"),
            ("it's \"both\"", "'it\\'s \"both\"'"),
            ("a\\b\n\t\r\0\x7f", "'a\\\\b\\n\\t\\r\\x00\\x7f'"),
            (
                "\u{a0}\u{200b}\u{2028}\u{e0001}",
                "'\\xa0\\u200b\\u2028\\U000e0001'",
            ),
            ("象 é 🐘", "'象 é 🐘'"),
        ];
        for (text, repr) in cases {
            assert_eq!(python_repr(text), repr);
        }
    }

    /// `sum(chr(c).isprintable() ...)` over all characters in Python 3.11 (Unicode 14.0).
    #[test]
    fn printable_characters_are_those_of_python_3_11() {
        let not_printable = ('\0'..=char::MAX)
            .filter(|&character| !is_printable(character))
            .count();
        assert_eq!(not_printable, 967_548);
    }

    #[test]
    fn internvl_without_text_says_none() {
        assert_eq!(
            internvl(None),
            "{'Text input': None, 'Instruction editing description': 'no'}"
        );
    }

    proptest! {
        #[test]
        fn a_repr_is_one_printable_line(text in any::<String>()) {
            let repr = python_repr(&text);
            prop_assert!(repr.chars().all(is_printable));
            prop_assert!(repr.len() >= text.len() + 2);
        }
    }
}
