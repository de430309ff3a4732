//! T5's tokenizer: SentencePiece's unigram model, from `tokenizer.json`, `spiece.model`, or the metadata
//! of a GGUF file.
//!
//! The `tokenizers` crate finds the best pieces; what it is built of is checked here, since it trusts its
//! files. Steps of the three kinds that T5's published files have are read, others are refused.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::{Precompiled, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as Splitters;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper};

use super::{charsmap, sentencepiece};
use crate::config::{parse, plain_json};
use crate::error::{Error, Result};
use crate::weights::WeightFile;
use crate::weights::gguf::MetaValue;

/// The longest piece, in bytes; T5's have up to 16 characters.
const LONGEST_PIECE: usize = 256;
/// The most steps of a normalizer.
const MOST_STEPS: usize = 8;
/// The mark of a space.
const SPACE: char = '\u{2581}';
/// What closes a text, and what fills it up.
const END: &str = "</s>";
const PAD: &str = "<pad>";

/// The tokenizer.
#[derive(Clone, Debug)]
pub struct T5Tokenizer {
    file: String,
    inner: Arc<tokenizers::Tokenizer>,
    end: u32,
    pad: u32,
}

/// What a tokenizer is built of.
#[derive(Default)]
struct Parts {
    pieces: Vec<(String, f64)>,
    unknown: usize,
    normalizers: Vec<NormalizerWrapper>,
    splitters: Vec<PreTokenizerWrapper>,
    /// Tokens that are found in a text as they are, with their ids.
    added: Vec<(u32, String)>,
}

/// `tokenizer.json`, as far as it is read.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    unk_id: Option<usize>,
    #[serde(default)]
    byte_fallback: bool,
    /// Pieces with scores; a dictionary with other kinds of models.
    vocab: Value,
}

impl T5Tokenizer {
    /// Reads a `tokenizer.json`; `file` names it in messages.
    ///
    /// # Errors
    /// [`Error::Config`] when it is no tokenizer of T5.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self> {
        let bad = |reason: String| Error::config(file, reason);
        let parsed: File = parse(file, &plain_json(json))?;
        let kind = parsed.model.kind.as_deref().unwrap_or("Unigram");
        if kind != "Unigram" || parsed.model.byte_fallback {
            let reason = match kind {
                "Unigram" => "byte_fallback is not supported".to_owned(),
                kind => format!("is a {} model; T5 has a Unigram", shown(kind)),
            };
            return Err(bad(reason));
        }
        let pieces = serde_json::from_value(parsed.model.vocab)
            .map_err(|error| bad(format!("model.vocab: {error}")))?;
        let mut parts = Parts {
            pieces,
            unknown: parsed.model.unk_id.unwrap_or(usize::MAX),
            ..Parts::default()
        };
        parts
            .normalize_as(&parsed.normalizer)
            .map_err(|reason| bad(format!("normalizer: {reason}")))?;
        parts
            .split_as(&parsed.pre_tokenizer)
            .map_err(|reason| bad(format!("pre_tokenizer: {reason}")))?;
        let added = parsed.added_tokens.into_iter();
        parts.added = added.map(|token| (token.id, token.content)).collect();
        parts.build(file)
    }

    /// Reads a `spiece.model`; `config` is the `tokenizer_config.json` beside it, whose
    /// `add_prefix_space` comes before the model's own.
    ///
    /// # Errors
    /// [`Error::Config`] when it is no unigram model.
    pub fn from_sentencepiece(file: &str, model: &[u8], config: Option<&[u8]>) -> Result<Self> {
        let bad = |reason: String| Error::config(file, reason);
        let model = sentencepiece::read(model).map_err(bad)?;
        if model.kind != 1 {
            return Err(bad("is no unigram model; T5's is".into()));
        }
        let config: Value = match config {
            Some(config) => parse(&format!("tokenizer_config.json beside {file}"), config)?,
            None => Value::Null,
        };
        // transformers takes a null that is said for no space.
        let prefix = match config.get("add_prefix_space") {
            Some(said) => said.as_bool().unwrap_or(false),
            None => model.add_dummy_prefix,
        };
        let of_kind = |kind| {
            let found = model.pieces.iter().enumerate();
            found.filter(move |(_, piece)| piece.kind == kind)
        };
        let unknown = of_kind(sentencepiece::UNKNOWN).next();
        let special = of_kind(sentencepiece::CONTROL).chain(of_kind(sentencepiece::UNKNOWN));
        let added = special.map(|(id, piece)| (id as u32, piece.text.clone()));
        let mut parts = Parts {
            unknown: unknown.map_or(usize::MAX, |(id, _)| id),
            added: added.collect(),
            ..Parts::default()
        };
        let pieces = model.pieces.iter();
        parts.pieces = pieces
            .map(|piece| (piece.text.clone(), f64::from(piece.score)))
            .collect();
        let extra = config.get("extra_ids").and_then(Value::as_u64);
        parts.add_extra(extra.unwrap_or(100)).map_err(bad)?;
        parts
            .published_steps(&model.charsmap, prefix)
            .map_err(bad)?;
        parts.build(file)
    }

    /// Reads the tokenizer in a GGUF file's metadata, as llama.cpp's converter writes T5's.
    ///
    /// # Errors
    /// [`Error::Config`] when there is none, or another kind.
    pub fn from_gguf(file: &WeightFile) -> Result<Self> {
        let bad = |reason: String| Error::config(file.name(), reason);
        let value = |key: &str| file.metadata_value(&format!("tokenizer.ggml.{key}"));
        if value("model").and_then(MetaValue::as_str) != Some("t5") {
            let reason = "holds no tokenizer of T5; put a tokenizer.json or spiece.model beside it";
            return Err(bad(reason.into()));
        }
        let list = |key: &str| {
            let list = value(key).and_then(MetaValue::as_array);
            list.ok_or_else(|| {
                bad(format!(
                    "the metadata key `tokenizer.ggml.{key}` is no list"
                ))
            })
        };
        let (tokens, scores, kinds) = (list("tokens")?, list("scores")?, list("token_type")?);
        if tokens.len() != scores.len() || tokens.len() != kinds.len() {
            return Err(bad(
                "has other numbers of tokens, scores and types of tokens".into(),
            ));
        }
        let mut parts = Parts {
            unknown: usize::MAX,
            ..Parts::default()
        };
        for (id, ((token, score), kind)) in tokens.iter().zip(scores).zip(kinds).enumerate() {
            let (Some(text), Some(score)) = (token.as_str(), score.as_f64()) else {
                return Err(bad(format!("token {id} is no text with a score")));
            };
            // Control and user-defined ones are found as they are.
            const USER_DEFINED: u64 = 4;
            let special = [sentencepiece::UNKNOWN, sentencepiece::CONTROL, USER_DEFINED];
            if let Some(kind) = kind.as_u64().filter(|kind| special.contains(kind)) {
                if kind == sentencepiece::UNKNOWN {
                    parts.unknown = id;
                }
                parts.added.push((id as u32, text.to_owned()));
            }
            // As a file of pieces has it, in f32.
            let score = f64::from(score as f32);
            parts.pieces.push((text.to_owned(), score));
        }
        let map: Option<Vec<u8>> = match value("precompiled_charsmap") {
            Some(map) => map
                .as_array()
                .and_then(|map| map.iter().map(byte).collect()),
            None => Some(vec![]),
        };
        let map = map.ok_or_else(|| bad("its character map is no list of bytes".into()))?;
        let prefix = value("add_space_prefix") != Some(&MetaValue::Bool(false));
        parts.published_steps(&map, prefix).map_err(bad)?;
        parts.build(file.name())
    }

    /// The ids of a text with the end behind them, cut and filled up to `tokens`. The end stays where a
    /// text is cut.
    ///
    /// # Errors
    /// [`Error::Config`] when the tokenizer's rules contradict each other.
    pub fn encode(&self, text: &str, tokens: usize) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| Error::config(&self.file, error.to_string()))?;
        let mut ids = encoding.get_ids().to_vec();
        ids.truncate(tokens.saturating_sub(1));
        ids.push(self.end);
        ids.resize(tokens, self.pad);
        Ok(ids)
    }

    /// Fails when a token has no row in an embedding of so many.
    ///
    /// # Errors
    /// [`Error::Config`] naming both numbers.
    pub fn check_rows(&self, rows: usize) -> Result<()> {
        let tokens = self.inner.get_vocab_size(true);
        if tokens <= rows {
            return Ok(());
        }
        let reason = format!(
            "has {tokens} tokens, T5's embedding has {rows} rows; the tokenizer is of another model"
        );
        Err(Error::config(&self.file, reason))
    }
}

impl Parts {
    /// The `<extra_id_N>` that transformers puts behind the pieces of a SentencePiece model.
    fn add_extra(&mut self, count: u64) -> Result<(), String> {
        if count > 10_000 {
            return Err(format!("extra_ids {count} is too large"));
        }
        for number in (0..count).rev() {
            let text = format!("<extra_id_{number}>");
            self.added.push((self.pieces.len() as u32, text.clone()));
            self.pieces.push((text, 0.0));
        }
        Ok(())
    }

    /// What T5's published `tokenizer.json` does before it looks for pieces.
    fn published_steps(&mut self, map: &[u8], prefix: bool) -> Result<(), String> {
        if !map.is_empty() {
            self.normalizers.push(precompiled(map)?);
        }
        self.normalizers.push(Strip::new(false, true).into());
        self.normalizers.push(spaces()?);
        let scheme = if prefix {
            PrependScheme::Always
        } else {
            PrependScheme::Never
        };
        self.splitters
            .push(Metaspace::new(SPACE, scheme, true).into());
        Ok(())
    }

    fn normalize_as(&mut self, step: &Value) -> Result<(), String> {
        match kind(step) {
            None if step.is_null() => Ok(()),
            Some("Sequence") => {
                let steps = list(step, "normalizers")?;
                steps.iter().try_for_each(|step| match kind(step) {
                    Some("Sequence") => Err("sequences in one another are not supported".into()),
                    _ => self.normalize_as(step),
                })
            }
            Some("Precompiled") => {
                let map = step.get("precompiled_charsmap").and_then(Value::as_str);
                let map =
                    base64(map.unwrap_or_default()).ok_or("its character map is no base64")?;
                if !map.is_empty() {
                    self.normalizers.push(precompiled(&map)?);
                }
                Ok(())
            }
            Some("Strip") => {
                let side = |key| step.get(key).and_then(Value::as_bool).unwrap_or(false);
                self.normalizers
                    .push(Strip::new(side("strip_left"), side("strip_right")).into());
                Ok(())
            }
            Some("Replace")
                if step.pointer("/pattern/Regex") == Some(&Value::from(" {2,}"))
                    && step.get("content") == Some(&Value::from(SPACE.to_string())) =>
            {
                self.normalizers.push(spaces()?);
                Ok(())
            }
            other => Err(format!(
                "`{}` is not supported",
                shown(other.unwrap_or("none"))
            )),
        }
    }

    fn split_as(&mut self, step: &Value) -> Result<(), String> {
        match kind(step) {
            Some("Sequence") => {
                let steps = list(step, "pretokenizers")?;
                steps.iter().try_for_each(|step| match kind(step) {
                    Some("Sequence") => Err("sequences in one another are not supported".into()),
                    _ => self.split_as(step),
                })
            }
            Some("WhitespaceSplit") => {
                self.splitters.push(WhitespaceSplit.into());
                Ok(())
            }
            Some("Metaspace") => {
                let space: Metaspace = serde_json::from_value(step.clone())
                    .map_err(|error| format!("Metaspace: {error}"))?;
                self.splitters.push(space.into());
                Ok(())
            }
            other => Err(format!(
                "`{}` is not supported",
                shown(other.unwrap_or("none"))
            )),
        }
    }

    fn check(&self) -> Result<(), String> {
        for (id, (text, score)) in self.pieces.iter().enumerate() {
            if text.is_empty() || text.len() > LONGEST_PIECE {
                return Err(format!("piece {id} has {} bytes", text.len()));
            }
            if !score.is_finite() {
                return Err(format!("piece {id} has the score {score}"));
            }
        }
        if self.unknown >= self.pieces.len() {
            return Err("has no unknown piece; T5's is <unk>".into());
        }
        match self.normalizers.len().max(self.splitters.len()) <= MOST_STEPS {
            true => Ok(()),
            false => Err(format!("has more than {MOST_STEPS} steps of one kind")),
        }
    }

    fn build(self, file: &str) -> Result<T5Tokenizer> {
        let bad = |reason: String| Error::config(file, reason);
        self.check().map_err(bad)?;
        let model = Unigram::from(self.pieces, Some(self.unknown), false)
            .map_err(|error| bad(error.to_string()))?;
        let mut inner = tokenizers::Tokenizer::new(model);
        inner.with_normalizer(Some(Sequence::new(self.normalizers)));
        inner.with_pre_tokenizer(Some(Splitters::new(self.splitters)));
        let tokens = self.added.iter();
        let tokens: Vec<AddedToken> = tokens
            .filter(|(_, text)| !text.is_empty())
            .map(|(_, text)| AddedToken::from(text.clone(), true))
            .collect();
        inner.add_special_tokens(&tokens);
        // The crate numbers added tokens itself, behind the pieces.
        for (id, text) in &self.added {
            if !text.is_empty() && inner.token_to_id(text) != Some(*id) {
                return Err(bad(format!("added token {text:?} can't have id {id}")));
            }
        }
        let id = |token: &str| {
            let id = inner.token_to_id(token);
            id.ok_or_else(|| bad(format!("has no token {token}; T5's has")))
        };
        Ok(T5Tokenizer {
            file: file.to_owned(),
            end: id(END)?,
            pad: id(PAD)?,
            inner: Arc::new(inner),
        })
    }
}

fn kind(step: &Value) -> Option<&str> {
    step.get("type").and_then(Value::as_str)
}

fn list<'a>(step: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    let list = step.get(key).and_then(Value::as_array);
    list.filter(|list| list.len() <= MOST_STEPS)
        .ok_or_else(|| format!("{key} is no list of at most {MOST_STEPS} steps"))
}

fn precompiled(map: &[u8]) -> Result<NormalizerWrapper, String> {
    charsmap::check(map).map_err(|reason| format!("its character map {reason}"))?;
    let map = Precompiled::from(map).map_err(|error| error.to_string())?;
    Ok(map.into())
}

/// Several spaces become one mark.
fn spaces() -> Result<NormalizerWrapper, String> {
    use tokenizers::normalizers::replace::ReplacePattern;
    let several = ReplacePattern::Regex(" {2,}".into());
    let replace = Replace::new(several, SPACE).map_err(|error| error.to_string())?;
    Ok(replace.into())
}

fn byte(value: &MetaValue) -> Option<u8> {
    let unsigned = value.as_u64().and_then(|value| u8::try_from(value).ok());
    unsigned.or_else(|| value.as_f64().map(|value| value as i8 as u8))
}

/// The bytes of a text in base64; none for a sign that it does not have.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}
