//! Tokens beside the vocabulary, where there is no `tokenizer.json`: `tokenizer_config.json` has their
//! ids and how they are found; older folders have ids in `added_tokens.json` and the special ones in
//! `special_tokens_map.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::config::parse;
use crate::error::{Error, Result};

/// The files that tell of added tokens, as far as they are there.
#[derive(Debug, Clone, Copy, Default)]
pub struct AddedFiles<'a> {
    /// `tokenizer_config.json`; its `added_tokens_decoder` says all.
    pub tokenizer_config: Option<&'a [u8]>,
    /// `added_tokens.json`: ids by token.
    pub added_tokens: Option<&'a [u8]>,
    /// `special_tokens_map.json`: which of them are special.
    pub special_tokens: Option<&'a [u8]>,
}

impl AddedFiles<'_> {
    /// The tokens as `tokenizer.json` has them, in the order of ids, and the file that tells of them.
    ///
    /// # Errors
    /// [`Error::Config`] naming the file that can't be read.
    pub(crate) fn tokens(self, folder: &str) -> Result<(String, Vec<Value>)> {
        let file = format!("{folder}/tokenizer_config.json");
        if let Some(json) = self.tokenizer_config {
            let tokens = decoder_tokens(&file, parse(&file, json)?)?;
            if !tokens.is_empty() {
                return Ok((file, tokens));
            }
        }
        let file = format!("{folder}/added_tokens.json");
        let Some(json) = self.added_tokens else {
            return Ok((file, vec![]));
        };
        let ids: BTreeMap<String, u32> = parse(&file, json)?;
        let special = match self.special_tokens {
            Some(json) => special_names(parse(&format!("{folder}/special_tokens_map.json"), json)?),
            None => BTreeSet::new(),
        };
        let mut ids: Vec<(u32, String)> = ids.into_iter().map(|(name, id)| (id, name)).collect();
        ids.sort();
        let tokens = ids.into_iter().map(|(id, content)| {
            let special = special.contains(&content);
            record(id, &content, &json!({ "special": special }))
        });
        Ok((file, tokens.collect()))
    }
}

/// A token as `tokenizer.json` has it; flags that are not said are false.
fn record(id: u32, content: &str, said: &Value) -> Value {
    let flag = |name: &str| said[name].as_bool().unwrap_or(false);
    json!({
        "id": id,
        "content": content,
        "single_word": flag("single_word"),
        "lstrip": flag("lstrip"),
        "rstrip": flag("rstrip"),
        "normalized": flag("normalized"),
        "special": flag("special"),
    })
}

/// `added_tokens_decoder`'s records with their ids.
fn decoder_tokens(file: &str, mut config: Value) -> Result<Vec<Value>> {
    let Some(Value::Object(records)) = config.get_mut("added_tokens_decoder").map(Value::take)
    else {
        return Ok(vec![]);
    };
    let mut tokens = Vec::with_capacity(records.len());
    for (id, said) in records {
        let (Ok(number), Some(content)) = (id.parse::<u32>(), said["content"].as_str()) else {
            let reason = format!("added_tokens_decoder: `{}` is no token", id.escape_debug());
            return Err(Error::config(file, reason));
        };
        tokens.push((number, record(number, content, &said)));
    }
    tokens.sort_by_key(|&(number, _)| number);
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

/// The texts of `special_tokens_map.json`: strings, records, and lists of either.
fn special_names(map: Value) -> BTreeSet<String> {
    fn collect(value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::String(name) => {
                names.insert(name.clone());
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
            Value::Object(record) => {
                if let Some(name) = record.get("content").and_then(Value::as_str) {
                    names.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    let values = map.as_object().into_iter().flat_map(|map| map.values());
    values.for_each(|value| collect(value, &mut names));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_files_say_the_same_as_tokenizer_config() {
        let newer = br#"{"added_tokens_decoder": {
            "8": {"content": "<|end|>", "special": true}, "9": {"content": "<pad>", "special": true},
            "10": {"content": "<tool>"}, "11": {"content": "<x>", "special": true}}}"#;
        let ids = br#"{"<tool>": 10, "<x>": 11, "<pad>": 9, "<|end|>": 8}"#;
        let special =
            br#"{"eos_token": "<|end|>", "pad_token": {"content": "<pad>", "lstrip": false},
            "additional_special_tokens": ["<|end|>", {"content": "<x>"}]}"#;
        let newer = AddedFiles {
            tokenizer_config: Some(newer),
            ..AddedFiles::default()
        };
        let older = AddedFiles {
            tokenizer_config: Some(br#"{"model_max_length": 1e30}"#),
            added_tokens: Some(ids),
            special_tokens: Some(special),
        };
        let (_, newer) = newer.tokens("m").unwrap();
        let (file, older) = older.tokens("m").unwrap();
        assert_eq!(older, newer);
        assert_eq!(file, "m/added_tokens.json");
        assert_eq!(older.len(), 4);
    }
}
