//! Tokenizers: text to token ids and back, and the chat templates around it.
//!
//! Reads Hugging Face's `tokenizer.json`, or GPT-2 style `vocab.json` and `merges.txt` (or the same
//! in a GGUF file) with Qwen's splitting rules, through the `tokenizers` crate. Not here: padding
//! and truncation (`encoders::sequence`). Not supported: training of tokenizers.

pub(crate) mod chat;
mod conversation;
mod gguf;
mod merges;
mod words;

use serde_json::{Value, json};

use crate::config::parse;
use crate::error::{Error, Result};
use crate::weights::WeightFile;
use merges::read_merges;

pub use chat::{ChatTemplate, Content, Message, VisionIds};
pub use words::{Quoter, Rendered};

/// How Qwen2 splits text before merging: contractions, words, single digits, punctuation, space.
const QWEN_SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A byte-level BPE tokenizer with its special tokens.
#[derive(Clone)]
pub struct Tokenizer {
    file: String,
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`; `file` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`] when it is no tokenizer.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|error| Error::config(file, format!("is no tokenizer: {error}")))?;
        // Saved settings of some training run: lengths are the encoder's business.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Error::config(file, error.to_string()))?;
        Ok(Self {
            file: file.to_owned(),
            inner,
        })
    }

    /// Builds Qwen's tokenizer from `vocab.json`, `merges.txt` and, where there is one, the
    /// `added_tokens_decoder` of `tokenizer_config.json`; `folder` names them in messages.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that can't be read.
    pub fn from_vocab_and_merges(
        folder: &str,
        vocab: &[u8],
        merges: &[u8],
        tokenizer_config: Option<&[u8]>,
    ) -> Result<Self> {
        let vocab_file = format!("{folder}/vocab.json");
        let vocab: Value = parse(&vocab_file, vocab)?;
        let merges = read_merges(&format!("{folder}/merges.txt"), merges)?;
        let config_file = format!("{folder}/tokenizer_config.json");
        let added_tokens = match tokenizer_config {
            Some(json) => added_tokens(&config_file, parse(&config_file, json)?)?,
            None => vec![],
        };
        Self::from_parts(&vocab_file, &config_file, vocab, merges, added_tokens)
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
        config_file: &str,
        vocab: Value,
        merges: Vec<[String; 2]>,
        added_tokens: Vec<Value>,
    ) -> Result<Self> {
        let ids: Vec<_> = added_tokens
            .iter()
            .map(|token| (token["content"].clone(), token["id"].clone()))
            .collect();
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
        let tokenizer = Self::from_json(vocab_file, json.to_string().as_bytes())?;
        // The crate numbers added tokens itself, behind the vocabulary.
        for (content, id) in ids {
            let found = content
                .as_str()
                .and_then(|content| tokenizer.token_to_id(content));
            if found.map(Value::from).as_ref() != Some(&id) {
                let reason = format!(
                    "added token {content} can't have id {id}: ids must follow the vocabulary without gaps"
                );
                return Err(Error::config(config_file, reason));
            }
        }
        Ok(tokenizer)
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

/// `added_tokens_decoder`'s records with their ids, in the order of ids, as `tokenizer.json` has them.
fn added_tokens(file: &str, mut config: Value) -> Result<Vec<Value>> {
    let Some(Value::Object(records)) = config.get_mut("added_tokens_decoder").map(Value::take)
    else {
        return Ok(vec![]);
    };
    let mut tokens = Vec::with_capacity(records.len());
    for (id, record) in records {
        let (Ok(number), Some(content)) = (id.parse::<u32>(), record["content"].as_str()) else {
            return Err(Error::config(
                file,
                format!("added_tokens_decoder: `{id}` is no token"),
            ));
        };
        let flag = |name: &str| record[name].as_bool().unwrap_or(false);
        let token = json!({
            "id": number,
            "content": content,
            "single_word": flag("single_word"),
            "lstrip": flag("lstrip"),
            "rstrip": flag("rstrip"),
            "normalized": flag("normalized"),
            "special": flag("special"),
        });
        tokens.push((number, token));
    }
    tokens.sort_by_key(|&(number, _)| number);
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
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
        Tokenizer::from_vocab_and_merges("here", &vocab, b"#version: 0.2\nt h\n", Some(config))
            .unwrap()
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
        let broken = message(Tokenizer::from_json("m/tokenizer.json", b"{}"));
        assert!(
            broken.starts_with("m/tokenizer.json: is no tokenizer"),
            "{broken}"
        );
        let broken = message(Tokenizer::from_vocab_and_merges("m", b"[", b"", None));
        assert!(broken.starts_with("m/vocab.json: "), "{broken}");
        let broken = message(Tokenizer::from_vocab_and_merges("m", b"{}", b"ab", None));
        assert!(broken.starts_with("m/merges.txt: line 1"), "{broken}");
        let gap = br#"{"added_tokens_decoder": {"7": {"content": "<x>"}}}"#;
        let broken = message(Tokenizer::from_vocab_and_merges(
            "m",
            b"{\"a\": 0}",
            b"",
            Some(gap),
        ));
        assert!(broken.contains("can't have id 7"), "{broken}");
    }
}
