//! What a `tokenizer.json` may hold before the `tokenizers` crate sees it.
//!
//! The crate (0.22) trusts its files. To be reported there: a BPE model with a
//! `continuing_subword_prefix` slices its merges without looking (`models/bpe/model.rs`, a panic), an
//! empty `Replace` or `Split` pattern matches everywhere, a `Precompiled` map of a few bytes is indexed
//! outside of its array, and chained `Replace`s grow a text without end (an abort). Nothing of that is
//! in a tokenizer of the families that are read here, so it is refused.

use serde::Deserialize;
use serde_json::Value;

use crate::config::parse;
use crate::error::{Error, Result};

/// How often all `Replace`s together may lengthen a text.
const MOST_GROWTH: usize = 16;
/// Steps inside one another.
const DEEPEST: usize = 8;
/// Steps of one kind.
const MOST_STEPS: usize = 32;

const NORMALIZERS: [&str; 8] = [
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Lowercase",
    "Strip",
    "StripAccents",
    "ByteLevel",
];
const SPLITTERS: [&str; 7] = [
    "ByteLevel",
    "Split",
    "Whitespace",
    "WhitespaceSplit",
    "Digits",
    "Punctuation",
    "Metaspace",
];
const DECODERS: [&str; 5] = ["ByteLevel", "ByteFallback", "Fuse", "Strip", "Metaspace"];

/// The parts of the file that are looked at.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    post_processor: Value,
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

/// The settings of the model, without its vocabulary.
#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    dropout: Option<f64>,
}

/// A token beside the vocabulary.
#[derive(Deserialize)]
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) content: String,
}

/// Checks a `tokenizer.json`; gives its added tokens, which the crate numbers itself.
///
/// # Errors
/// [`Error::Config`] naming what is not read here.
pub(super) fn check_file(file: &str, json: &[u8]) -> Result<Vec<Added>> {
    let parts: File = parse(file, json)
        .map_err(|error| Error::config(file, format!("is no tokenizer: {}", reason(&error))))?;
    let model = &parts.model;
    let kind = model.kind.as_deref().unwrap_or("BPE");
    let refuse = |what: String| Err(Error::config(file, format!("{what} is not supported")));
    if kind != "BPE" {
        return refuse(format!("a {} model", shown(kind)));
    }
    for (key, value) in [
        (
            "continuing_subword_prefix",
            &model.continuing_subword_prefix,
        ),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            return refuse(format!("{key} `{}`", shown(value)));
        }
    }
    if let Some(dropout) = model.dropout.filter(|&dropout| dropout != 0.0) {
        return refuse(format!("dropout {dropout}"));
    }
    for (key, step, known) in [
        ("normalizer", &parts.normalizer, &NORMALIZERS[..]),
        ("pre_tokenizer", &parts.pre_tokenizer, &SPLITTERS[..]),
        ("decoder", &parts.decoder, &DECODERS[..]),
    ] {
        let mut steps = Steps {
            known,
            growth: 1,
            count: 0,
        };
        steps
            .check(step, 0)
            .map_err(|what| Error::config(file, format!("{key}: {what}")))?;
    }
    if let Some(kind) = adds_tokens(&parts.post_processor) {
        return refuse(format!(
            "post_processor: a {} that adds tokens",
            shown(kind)
        ));
    }
    Ok(parts.added_tokens)
}

/// The kind of a post-processor that puts tokens around a text, as a begin-of-sequence: the models that
/// are read here were trained without, and the chat template writes what they need.
fn adds_tokens(step: &Value) -> Option<&str> {
    let kind = step.get("type").and_then(Value::as_str)?;
    let is_sequence = |piece: &Value| piece.get("Sequence").is_some();
    let adds = match kind {
        "ByteLevel" => false,
        "Sequence" => {
            let steps = step.get("processors").and_then(Value::as_array);
            return steps?.iter().find_map(adds_tokens);
        }
        "TemplateProcessing" => {
            let single = step.get("single").and_then(Value::as_array);
            single.is_some_and(|single| !single.iter().all(is_sequence))
        }
        _ => true,
    };
    adds.then_some(kind)
}

/// The reason alone of a config's error.
fn reason(error: &Error) -> String {
    match error {
        Error::Config { reason, .. } => reason.to_string(),
        error => error.to_string(),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

/// The steps of a normalizer, a splitter or a decoder.
struct Steps {
    known: &'static [&'static str],
    growth: usize,
    count: usize,
}

impl Steps {
    fn check(&mut self, step: &Value, depth: usize) -> Result<(), String> {
        if step.is_null() {
            return Ok(());
        }
        self.count += 1;
        if depth > DEEPEST || self.count > MOST_STEPS {
            return Err(format!(
                "has more than {MOST_STEPS} steps, or nests them deeper than {DEEPEST}"
            ));
        }
        let kind = step.get("type").and_then(Value::as_str).unwrap_or("none");
        match kind {
            "Sequence" => {
                let lists = ["normalizers", "pretokenizers", "decoders"];
                let steps = lists.iter().filter_map(|list| step.get(*list)?.as_array());
                steps
                    .flatten()
                    .try_for_each(|step| self.check(step, depth + 1))
            }
            "Replace" => self.replace(step),
            kind if self.known.contains(&kind) => pattern(step).map(drop),
            kind => Err(format!("`{}` is not supported", shown(kind))),
        }
    }

    /// A `Replace` of a text that is not empty, whose result is not much longer.
    fn replace(&mut self, step: &Value) -> Result<(), String> {
        let Some(pattern) = pattern(step)? else {
            return Err("`Replace` with a regular expression is not supported".into());
        };
        let content = step.get("content").and_then(Value::as_str).unwrap_or("");
        let factor = content.len().div_ceil(pattern).max(1);
        self.growth = self.growth.saturating_mul(factor);
        match self.growth <= MOST_GROWTH {
            true => Ok(()),
            false => Err(format!(
                "`Replace` makes a text more than {MOST_GROWTH} times longer, which is not supported"
            )),
        }
    }
}

/// The bytes of a step's pattern, where it has one that is a text.
fn pattern(step: &Value) -> Result<Option<usize>, String> {
    let Some(pattern) = step.get("pattern") else {
        return Ok(None);
    };
    let [text, regex] = ["String", "Regex"].map(|key| pattern.get(key).and_then(Value::as_str));
    match (text.or(pattern.as_str()), regex) {
        (Some(""), _) | (_, Some("")) => Err("a pattern is empty".into()),
        (text, _) => Ok(text.map(str::len)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let mut json = json!({
            "normalizer": {"type": "NFC"},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "a|b"}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel"},
            ]},
            "decoder": {"type": "ByteLevel"},
            "post_processor": null,
            "model": {"type": "BPE", "continuing_subword_prefix": "", "dropout": null, "vocab": {}, "merges": []},
            "added_tokens": [],
        });
        change(&mut json);
        let checked = check_file("t.json", json.to_string().as_bytes());
        checked.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_tokenizer_of_qwens_form_passes() {
        assert_eq!(outcome(|_| {}), Ok(()));
        let short = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
        assert_eq!(outcome(|json| json["normalizer"] = short), Ok(()));
    }

    #[test]
    fn what_the_crate_trips_over_is_refused_by_its_name() {
        let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
        let thrice = replace(json!({"String": "a"}), "aaa");
        let chain = json!({"type": "Sequence", "normalizers": vec![thrice; 3]});
        let mut nested = json!({"type": "NFC"});
        for _ in 0..20 {
            nested = json!({"type": "Sequence", "normalizers": [nested]});
        }
        for (pointer, value, message) in [
            (
                "/model/continuing_subword_prefix",
                json!("##"),
                "t.json: continuing_subword_prefix `##`",
            ),
            ("/model/type", json!("Unigram"), "a Unigram model"),
            ("/model/dropout", json!(0.1), "dropout 0.1"),
            (
                "/normalizer",
                replace(json!({"String": ""}), "x"),
                "normalizer: a pattern is empty",
            ),
            (
                "/normalizer",
                replace(json!({"Regex": "a*"}), "x"),
                "regular expression",
            ),
            ("/normalizer", chain, "more than 16 times longer"),
            (
                "/normalizer",
                json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
                "`Precompiled`",
            ),
            ("/normalizer", nested, "nests them deeper"),
            (
                "/decoder",
                replace(json!({"String": ""}), "x"),
                "decoder: a pattern is empty",
            ),
            (
                "/pre_tokenizer",
                json!({"type": "Split", "pattern": {"String": ""}}),
                "a pattern is empty",
            ),
            (
                "/pre_tokenizer",
                json!({"type": "FixedLength", "length": 0}),
                "`FixedLength`",
            ),
        ] {
            let error = outcome(|json| *json.pointer_mut(pointer).unwrap() = value).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
