//! Tokenizers: text to token ids and back, and the chat templates around it.
//!
//! Reads Hugging Face's `tokenizer.json`, or GPT-2 style `vocab.json` and `merges.txt` (or the same
//! in a GGUF file) with Qwen's splitting rules, through the `tokenizers` crate. Not here: padding
//! and truncation (`encoders::sequence`). Not supported: training of tokenizers.

mod added;
pub(crate) mod chat;
mod check;
mod conversation;
mod gguf;
mod growth;
mod merges;
mod words;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{parse, plain_json};
use crate::error::{Error, Result};
use crate::weights::WeightFile;
pub(crate) use merges::read_merges;

pub use added::AddedFiles;
pub use chat::{ChatTemplate, Content, Message, VisionIds};
pub use words::{Quoter, Rendered};

/// How Qwen2 splits text before merging: contractions, words, single digits, punctuation, space.
const QWEN_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A byte-level BPE tokenizer with its special tokens.
#[derive(Clone)]
pub struct Tokenizer {
    file: String,
    /// Shared: a vocabulary of 150,000 tokens is no small thing to copy.
    inner: Arc<tokenizers::Tokenizer>,
    /// The highest id of a token.
    highest: u32,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; `file` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`] when it is no tokenizer.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self> {
        let json = plain_json(json);
        let added = check::check_file(file, &json)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(&json)
            .map_err(|error| Error::config(file, format!("is no tokenizer: {error}")))?;
        // The crate numbers added tokens itself, behind the vocabulary.
        for check::Added { id, content } in added {
            if !content.is_empty() && inner.token_to_id(&content) != Some(id) {
                let reason = format!(
                    "added token {content:?} can't have id {id}: ids must follow the vocabulary without gaps"
                );
                return Err(Error::config(file, reason));
            }
        }
        // What would be put around a text is the chat template's business.
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        // Saved settings of some training run: lengths are the encoder's business.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Error::config(file, error.to_string()))?;
        Ok(Self {
            file: file.to_owned(),
            highest: inner.get_vocab(true).into_values().max().unwrap_or(0),
            inner: Arc::new(inner),
        })
    }

    /// Builds Qwen's tokenizer from `vocab.json`, `merges.txt` and the files that tell of added tokens;
    /// `folder` names them in messages.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that can't be read.
    pub fn from_vocab_and_merges(
        folder: &str,
        vocab: &[u8],
        merges: &[u8],
        added: AddedFiles<'_>,
    ) -> Result<Self> {
        let vocab_file = format!("{folder}/vocab.json");
        let vocab: Value = parse(&vocab_file, vocab)?;
        let merges = read_merges(&format!("{folder}/merges.txt"), merges)?;
        let (added_file, added_tokens) = added.tokens(folder)?;
        Self::from_parts(&vocab_file, &added_file, vocab, merges, added_tokens)
    }

    /// Builds Qwen's tokenizer from the metadata of a GGUF file; `None` when it holds none.
    ///
    /// # Errors
    /// [`Error::Config`] for another kind of tokenizer, or one that contradicts itself.
    pub fn from_gguf(file: &WeightFile) -> Result<Option<Self>> {
        let Some(gguf::Vocabulary {
            vocab,
            merges,
            added_tokens,
        }) = gguf::vocabulary(file)?
        else {
            return Ok(None);
        };
        let name = file.name();
        Self::from_parts(name, name, vocab, merges, added_tokens).map(Some)
    }

    /// `vocab` by token; `added_tokens` as `tokenizer.json` has them, with the file that says so.
    fn from_parts(
        vocab_file: &str,
        added_file: &str,
        vocab: Value,
        merges: Vec<[String; 2]>,
        added_tokens: Vec<Value>,
    ) -> Result<Self> {
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
        });
        let split = json!({
            "type": "Split", "pattern": { "Regex": QWEN_SPLIT }, "behavior": "Isolated", "invert": false
        });
        let json = json!({
            "version": "1.0",
            "added_tokens": added_tokens,
            "normalizer": { "type": "NFC" },
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [split, byte_level] },
            "decoder": byte_level,
            "model": { "type": "BPE", "vocab": vocab, "merges": merges },
        });
        let named = match added_tokens.is_empty() {
            true => vocab_file,
            false => &format!("{vocab_file} and {added_file}"),
        };
        Self::from_json(named, json.to_string().as_bytes())
    }

    /// The tokenizer as `tokenizer.json` has it.
    ///
    /// # Errors
    /// [`Error::Config`] when it can't be written so.
    pub fn to_json(&self) -> Result<String> {
        self.inner
            .to_string(false)
            .map_err(|error| Error::config(&self.file, error.to_string()))
    }

    /// Token ids of a text. Special tokens in it are recognised; none are put around it.
    ///
    /// # Errors
    /// [`Error::Config`] when the tokenizer's rules contradict each other.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| Error::config(&self.file, error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of token ids; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Config`] when the tokenizer's rules contradict each other.
    pub fn decode(&self, ids: &[u32], special_tokens: SpecialTokens) -> Result<String> {
        self.inner
            .decode(ids, special_tokens == SpecialTokens::Skip)
            .map_err(|error| Error::config(&self.file, error.to_string()))
    }

    /// Fails when a token has no row in an embedding of so many.
    ///
    /// # Errors
    /// [`Error::Config`] naming the token with the highest id.
    pub fn check_rows(&self, rows: usize) -> Result<()> {
        if (self.highest as usize) < rows {
            return Ok(());
        }
        let token = self.id_to_token(self.highest).unwrap_or_default();
        let reason = format!(
            "token {token:?} has id {}, the embedding has {rows} rows; the tokenizer is of another model",
            self.highest
        );
        Err(Error::config(&self.file, reason))
    }

    /// Fails when a token has another id than a `file` says under `key`. A tokenizer without the token is
    /// that of a model of text.
    ///
    /// # Errors
    /// [`Error::Config`] naming both.
    pub fn check_id(&self, token: &str, file: &str, key: &str, id: u32) -> Result<()> {
        match self.token_to_id(token).filter(|found| *found != id) {
            None => Ok(()),
            Some(found) => {
                let reason = format!(
                    "{key} is {id}, the tokenizer's `{token}` is {found}; one of them is of another \
                     model"
                );
                Err(Error::config(file, reason))
            }
        }
    }

    /// The id of one token, special or not.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of one id.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Tokens in all, the added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

/// How decoding treats special tokens such as `<|im_end|>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They appear in the text.
    Keep,
    /// They are dropped.
    Skip,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes `a`..`z` and space, one merge, and one special token.
    pub(super) fn letters() -> Tokenizer {
        let mut vocab = serde_json::Map::new();
        for letter in ('a'..='z').chain(['Ġ']) {
            vocab.insert(letter.to_string(), Value::from(vocab.len()));
        }
        vocab.insert("th".into(), Value::from(vocab.len()));
        let vocab = serde_json::to_vec(&vocab).unwrap();
        let config =
            br#"{"added_tokens_decoder": {"28": {"content": "<|end|>", "special": true}}}"#;
        let added = AddedFiles {
            tokenizer_config: Some(config),
            ..AddedFiles::default()
        };
        Tokenizer::from_vocab_and_merges("here", &vocab, b"#version: 0.2\nt h\n", added).unwrap()
    }

    #[test]
    fn merges_apply_and_special_tokens_in_text_are_recognised() {
        let tokenizer = letters();
        let ids = tokenizer.encode("the th<|end|>").unwrap();
        assert_eq!(ids, [27, 4, 26, 27, 28]);
        assert_eq!(
            tokenizer.decode(&ids, SpecialTokens::Keep).unwrap(),
            "the th<|end|>"
        );
        assert_eq!(
            tokenizer.decode(&ids, SpecialTokens::Skip).unwrap(),
            "the th"
        );
    }

    #[test]
    fn an_empty_text_has_no_tokens() {
        assert!(letters().encode("").unwrap().is_empty());
    }

    #[test]
    fn texts_of_100_000_characters_are_encoded() {
        let tokenizer = letters();
        for unit in ["a", " ", "\n", "th ", "'", "é", "a\u{301}", "🐘"] {
            let text = unit.repeat(100_000 / unit.chars().count());
            assert!(tokenizer.encode(&text).is_ok(), "{unit:?}");
        }
    }

    #[test]
    fn broken_files_are_named() {
        let message = |result: Result<Tokenizer>| match result {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let none = AddedFiles::default();
        let broken = message(Tokenizer::from_json("m/tokenizer.json", b"{}"));
        assert!(
            broken.starts_with("m/tokenizer.json: is no tokenizer"),
            "{broken}"
        );
        let broken = message(Tokenizer::from_vocab_and_merges("m", b"[", b"", none));
        assert!(broken.starts_with("m/vocab.json: "), "{broken}");
        let broken = message(Tokenizer::from_vocab_and_merges("m", b"{}", b"ab", none));
        assert!(broken.starts_with("m/merges.txt: line 1"), "{broken}");
        let gap = br#"{"added_tokens_decoder": {"7": {"content": "<x>"}}}"#;
        let broken = message(Tokenizer::from_vocab_and_merges(
            "m",
            b"{\"a\": 0}",
            b"",
            AddedFiles {
                tokenizer_config: Some(gap),
                ..none
            },
        ));
        assert!(broken.contains("can't have id 7"), "{broken}");
    }
}
