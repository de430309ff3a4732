//! CLIP's tokenizer, as transformers' `CLIPTokenizer` without ftfy, which diffusers' FLUX uses: the text
//! is cleaned as BERT's, split, and merged byte by byte.
//!
//! The `tokenizers` crate merges; cleaning and splitting are here, since the crate's own CLIP cleans
//! otherwise.

use std::fmt::Write as _;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::{Model, NormalizedString, Normalizer};
use unicode_general_category::{GeneralCategory, get_general_category};

use crate::config::parse;
use crate::error::{Error, Result};
use crate::tokenizer::read_merges;

/// How a cleaned text is split.
const SPLIT: &str =
    r"(?i)<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";
/// What opens a text, and what closes it and fills it up.
const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
/// What a word's last piece ends with.
const END_OF_WORD: &str = "</w>";

/// The tokenizer.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    file: String,
    model: Arc<BPE>,
    split: Regex,
    highest: u32,
    start: u32,
    end: u32,
}

impl ClipTokenizer {
    /// Builds it from `vocab.json` and `merges.txt`; `folder` names them in messages.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that can't be read.
    pub fn new(folder: &str, vocab: &[u8], merges: &[u8]) -> Result<Self> {
        let file = format!("{folder}/vocab.json");
        let bad = |reason: String| Error::config(&file, reason);
        let vocab: Value = parse(&file, vocab)?;
        let merges = read_merges(&format!("{folder}/merges.txt"), merges)?;
        let entries = vocab.as_object().into_iter().flatten();
        let ids = entries.filter_map(|(_, id)| id.as_u64());
        let highest = ids.max().unwrap_or(0);
        let model = json!({
            "type": "BPE",
            "vocab": vocab,
            "merges": merges,
            "unk_token": END,
            "end_of_word_suffix": END_OF_WORD,
        });
        // From a text: the crate wants to borrow its strings.
        let model: BPE = serde_json::from_str(&model.to_string())
            .map_err(|error| bad(format!("is no vocabulary of CLIP: {error}")))?;
        let id = |token: &str| {
            let id = model.token_to_id(token);
            id.ok_or_else(|| bad(format!("has no token {token}; CLIP's has")))
        };
        Ok(Self {
            start: id(START)?,
            end: id(END)?,
            highest: u32::try_from(highest).unwrap_or(u32::MAX),
            model: Arc::new(model),
            split: Regex::new(SPLIT).map_err(|error| bad(error.to_string()))?,
            file,
        })
    }

    /// The ids of a text between its start and its end, cut and filled up with the end to `tokens`. Start
    /// and end stay where a text is cut.
    ///
    /// # Errors
    /// [`Error::Config`] when the vocabulary lacks a byte.
    pub fn encode(&self, text: &str, tokens: usize) -> Result<Vec<u32>> {
        let mut ids = vec![self.start];
        let mut rest = text;
        // The two tokens are found in a text as they are.
        while let Some((at, token)) = first_special(rest) {
            self.encode_plain(&rest[..at], &mut ids)?;
            ids.push(if token == START { self.start } else { self.end });
            rest = &rest[at + token.len()..];
        }
        self.encode_plain(rest, &mut ids)?;
        ids.truncate(tokens.saturating_sub(1));
        ids.resize(tokens, self.end);
        Ok(ids)
    }

    /// Fails when a token has no row in an embedding of so many.
    ///
    /// # Errors
    /// [`Error::Config`] naming both numbers.
    pub fn check_rows(&self, rows: usize) -> Result<()> {
        if (self.highest as usize) < rows {
            return Ok(());
        }
        let reason = format!(
            "has a token with id {}, CLIP's embedding has {rows} rows; the tokenizer is of another model",
            self.highest
        );
        Err(Error::config(&self.file, reason))
    }

    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let bad = |error: tokenizers::Error| Error::config(&self.file, error.to_string());
        let cleaned = clean(text).map_err(bad)?;
        for word in self.split.find_iter(&cleaned) {
            match word.as_str() {
                START => ids.push(self.start),
                END => ids.push(self.end),
                word => {
                    let bytes: String = word.bytes().map(as_letter).collect();
                    let pieces = self.model.tokenize(&bytes).map_err(bad)?;
                    ids.extend(pieces.into_iter().map(|piece| piece.id));
                }
            }
        }
        Ok(())
    }
}

/// Where the first of the two tokens stands.
fn first_special(text: &str) -> Option<(usize, &'static str)> {
    let found = [START, END]
        .into_iter()
        .filter_map(|token| Some((text.find(token)?, token)));
    found.min()
}

/// As BERT's cleaning has it: no control characters, CJK characters on their own, composed, in lower case,
/// single spaces.
fn clean(text: &str) -> tokenizers::Result<String> {
    let mut spaced = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\0' | '\u{FFFD}' => {}
            ' ' | '\t' | '\n' | '\r' => spaced.push(' '),
            char if is_cjk(char) => {
                // Writing to a text can't fail.
                let _ = write!(spaced, " {char} ");
            }
            char => match get_general_category(char) {
                GeneralCategory::SpaceSeparator => spaced.push(' '),
                GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::Surrogate
                | GeneralCategory::PrivateUse
                | GeneralCategory::Unassigned => {}
                _ => spaced.push(char),
            },
        }
    }
    let mut composed = NormalizedString::from(spaced);
    NFC.normalize(&mut composed)?;
    let words = composed.get().split_whitespace().map(str::to_lowercase);
    Ok(words.collect::<Vec<_>>().join(" "))
}

fn is_cjk(char: char) -> bool {
    matches!(u32::from(char),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F
        | 0x2B740..=0x2B81F | 0x2B820..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}

/// The letter that stands for a byte in GPT-2's vocabularies: itself where it is printed, and else one
/// from 256 on.
fn as_letter(byte: u8) -> char {
    let printed = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printed(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printed(other)).count() as u32;
    char::from_u32(256 + before).unwrap_or('\u{FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned_as_berts() {
        let cleaned = |text: &str| clean(text).unwrap();
        assert_eq!(cleaned("  Two\t spaces\u{A0}\n"), "two spaces");
        assert_eq!(cleaned("a\u{0}b\u{200B}c\u{7}"), "abc");
        assert_eq!(cleaned("ein象Haus"), "ein 象 haus");
        assert_eq!(cleaned("E\u{301}"), "é");
        assert_eq!(cleaned("a\u{2028}b"), "a b");
        assert_eq!(cleaned("ΟΔΟΣ"), "οδος");
    }

    #[test]
    fn bytes_have_gpt2s_letters() {
        let letters = [(b'!', '!'), (0, 'Ā'), (b' ', 'Ġ'), (0xAD, 'Ń'), (0xC3, 'Ã')];
        for (byte, letter) in letters {
            assert_eq!(as_letter(byte), letter, "{byte}");
        }
    }

    /// Every byte's letter, alone and at a word's end, one merge, and the two tokens.
    fn tokenizer() -> ClipTokenizer {
        let mut vocab = serde_json::Map::new();
        let letters = || (0..=255).map(as_letter);
        let tokens = letters()
            .map(String::from)
            .chain(letters().map(|letter| format!("{letter}{END_OF_WORD}")))
            .chain(["th", "the</w>", START, END].map(str::to_owned));
        for token in tokens {
            let id = vocab.len();
            vocab.insert(token, id.into());
        }
        let vocab = serde_json::to_vec(&vocab).unwrap();
        ClipTokenizer::new("m", &vocab, b"#version: 0.2\nt h\nth e</w>\n").unwrap()
    }

    #[test]
    fn a_text_stands_between_start_and_end_and_is_filled_up() {
        let tokenizer = tokenizer();
        let [the, start, end] = [513, 514, 515];
        assert_eq!(
            tokenizer.encode("The", 5).unwrap(),
            [start, the, end, end, end]
        );
        assert_eq!(tokenizer.encode("", 3).unwrap(), [start, end, end]);
        // Cut, the end stays.
        let long = tokenizer.encode(&"the ".repeat(10_000), 77).unwrap();
        assert_eq!(long.len(), 77);
        assert_eq!((long[75], long[76]), (the, end));
        // The tokens in a text are what they are, in any case.
        let said = tokenizer
            .encode("th<|endoftext|>the <|StartOfText|>", 7)
            .unwrap();
        let h = 256 + u32::from(b'h');
        assert_eq!(said[..2], [start, u32::from(b't')]);
        assert_eq!(said[2..], [h, end, the, start, end]);
    }

    #[test]
    fn broken_files_are_named() {
        let message = |vocab: &[u8], merges: &[u8]| {
            let built = ClipTokenizer::new("m", vocab, merges);
            built.map(drop).unwrap_err().to_string()
        };
        assert!(message(b"[]", b"").starts_with("m/vocab.json: "));
        assert!(message(br#"{"a": 0}"#, b"").contains("has no token <|startoftext|>"));
        assert!(message(br#"{"a": 0}"#, b"ab").starts_with("m/merges.txt: line 1"));
        assert!(message(br#"{"a": 0}"#, b"a b").contains("is no vocabulary of CLIP"));
        assert!(tokenizer().check_rows(516).is_ok());
        let error = tokenizer().check_rows(515).unwrap_err().to_string();
        assert!(
            error.contains("id 515, CLIP's embedding has 515 rows"),
            "{error}"
        );
    }
}
