//! What each key of a published config means here, so that none changes the mathematics unheard.
//!
//! A config's keys are in one table: those that a struct reads, those that change nothing, and those
//! that have to say what the graph does. A key that is in no table is a warning that names it: most are
//! of newer libraries and harmless.

use serde_json::{Map, Value};

use super::checks::check;
use crate::error::{Error, Result};

/// What a key means here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// A struct reads it.
    Read,
    /// It changes nothing that is computed here.
    Idle,
    /// It switches something on that is not here: false, null, 0 and the like are fine.
    Off,
    /// It must say one of these words, null or nothing.
    Word(&'static [&'static str]),
    /// It must be this number, null or nothing.
    Number(f64),
    /// It must be true, null or nothing.
    On,
    /// It must be a list of this word.
    All(&'static str),
}

/// The keys of one config, in several tables.
pub(super) type Keys = [&'static [(&'static str, Key)]];

/// Keys that are shown whole in a message.
const LONGEST_KEY: usize = 60;

/// Checks every key of an object; `prefix` stands before the keys in messages, such as `vision_config.`.
/// Unknown ones are added to `warnings`.
///
/// # Errors
/// [`Error::Config`] naming the key that says what is not computed here.
pub(super) fn check_keys(
    file: &str,
    prefix: &str,
    json: &Value,
    keys: &Keys,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let Some(object) = json.as_object() else {
        return Ok(());
    };
    for (key, value) in object {
        let mut known = keys.iter().flat_map(|table| table.iter());
        let Some((_, means)) = known.find(|(name, _)| name == key) else {
            let shown: String = key.escape_debug().take(LONGEST_KEY).collect();
            warnings.push(format!(
                "{file}: `{prefix}{shown}` is a key that is not known here; it is passed over"
            ));
            continue;
        };
        if let Some(wanted) = means.refuses(value) {
            let value = shown(value);
            let reason = format!("{prefix}{key} {value} is not supported; {wanted}");
            return Err(Error::config(file, reason));
        }
    }
    Ok(())
}

impl Key {
    /// What would do, where `value` does not.
    fn refuses(self, value: &Value) -> Option<String> {
        let (holds, wanted) = match self {
            Self::Read | Self::Idle => return None,
            Self::Off => (is_off(value), "only false or null is".to_owned()),
            _ if value.is_null() => return None,
            Self::On => (*value == Value::Bool(true), "only true is".to_owned()),
            Self::Word(words) => (
                value.as_str().is_some_and(|value| words.contains(&value)),
                format!("only {} is", words.join(" or ")),
            ),
            Self::Number(number) => (value.as_f64() == Some(number), format!("only {number} is")),
            Self::All(word) => {
                let values = value.as_array();
                let holds = values.is_some_and(|values| values.iter().all(|value| value == word));
                (holds, format!("only {word} is"))
            }
        };
        (!holds).then_some(wanted)
    }
}

/// What Python's `if` takes for false.
pub(super) fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(value) => value.is_empty(),
        Value::Object(value) => value.is_empty(),
    }
}

/// A value in a message.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.escape_debug().collect(),
        value => value.to_string(),
    };
    match text.char_indices().nth(LONGEST_KEY) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

/// Refuses an object whose class is another one. Files without a class are of no library.
///
/// # Errors
/// [`Error::Config`] naming the class.
pub(super) fn check_class(file: &str, json: &Value, class: &str, what: &str) -> Result<()> {
    let found = json.get("_class_name").filter(|class| !class.is_null());
    let found = found.map(shown);
    check(
        file,
        found.as_deref().is_none_or(|found| found == class),
        || {
            let found = found.unwrap_or_default();
            format!("_class_name {found} is not supported; {what} is a {class}")
        },
    )
}

/// An object's own copy, empty for anything else.
pub(super) fn object(json: &Value) -> Map<String, Value> {
    json.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: &[(&str, Key)] = &[
        ("size", Key::Read),
        ("name", Key::Idle),
        ("scaled", Key::Off),
        ("act", Key::Word(&["silu", "swish"])),
        ("patch", Key::Number(1.0)),
        ("attention", Key::On),
        ("kinds", Key::All("plain")),
    ];

    fn outcome(json: &Value) -> std::result::Result<Vec<String>, String> {
        let mut warnings = vec![];
        check_keys("c.json", "v.", json, &[KEYS], &mut warnings)
            .map(|()| warnings)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_changes_nothing_passes() {
        for json in [
            json!({}),
            json!({"size": -1, "name": {"any": "thing"}}),
            json!({"scaled": false, "act": "silu", "patch": 1, "attention": true, "kinds": ["plain", "plain"]}),
            json!({"scaled": 0.0, "act": "swish", "patch": 1.0, "attention": null, "kinds": null}),
            json!({"scaled": null, "act": null, "patch": null}),
        ] {
            assert_eq!(outcome(&json), Ok(vec![]), "{json}");
        }
    }

    #[test]
    fn what_changes_the_mathematics_is_refused_by_its_key() {
        for (json, message) in [
            (
                json!({"scaled": true}),
                "c.json: v.scaled true is not supported; only false or null is",
            ),
            (json!({"scaled": 0.02}), "v.scaled 0.02"),
            (json!({"scaled": [0.1]}), "v.scaled [0.1]"),
            (
                json!({"act": "gelu"}),
                "v.act gelu is not supported; only silu or swish is",
            ),
            (json!({"patch": 2}), "v.patch 2 is not supported; only 1 is"),
            (json!({"attention": false}), "v.attention false"),
            (
                json!({"kinds": ["plain", "sliding"]}),
                "v.kinds [\"plain\",\"sliding\"]",
            ),
        ] {
            let error = outcome(&json).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn what_is_not_known_is_a_warning_that_names_it() {
        let warnings = outcome(&json!({"new\u{1b}[31m": 1, "name": 2})).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].starts_with("c.json: `v.new\\u{1b}[31m` is a key"),
            "{warnings:?}"
        );
    }
}
