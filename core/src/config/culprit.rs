//! Which key of a config serde refused: its errors name the keys that are missing, but not those whose values are
//! of another type.
//!
//! A key is the culprit when its value is what the message describes, and when the error is another one without
//! it. Everything here runs only after an error.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The most keys that are tried. Published configs have some hundred.
const MOST_TRIES: usize = 2000;

/// The path of the key that `reason`, serde's message, is about: `vision_config.depth`.
pub(super) fn culprit<T: DeserializeOwned>(json: &Value, reason: &str) -> Option<String> {
    let mut path = Vec::new();
    let mut tries = MOST_TRIES;
    let is_other = |without: &Value| {
        let outcome = serde_json::from_value::<T>(without.clone());
        outcome
            .err()
            .is_none_or(|error| error.to_string() != reason)
    };
    find(json, json, &mut path, reason, &mut tries, &is_other).then(|| path.join("."))
}

/// Looks below `place`, which `path` leads to from `root`.
fn find(
    root: &Value,
    place: &Value,
    path: &mut Vec<String>,
    reason: &str,
    tries: &mut usize,
    is_other: &dyn Fn(&Value) -> bool,
) -> bool {
    let children: Vec<(String, &Value)> = match place {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => {
            let numbered = list.iter().enumerate();
            numbered
                .map(|(index, value)| (index.to_string(), value))
                .collect()
        }
        _ => return false,
    };
    for (key, child) in children {
        path.push(key);
        if *tries == 0 {
            return false;
        }
        *tries -= 1;
        if find(root, child, path, reason, tries, is_other) {
            return true;
        }
        if describes(reason, child) && is_other(&without(root, path)) {
            let shown = path.iter_mut();
            shown.for_each(|key| *key = key.escape_debug().collect());
            return true;
        }
        path.pop();
    }
    false
}

/// Whether serde's message may be about this value.
fn describes(reason: &str, value: &Value) -> bool {
    let described = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("boolean `{value}`"),
        Value::Number(number) if number.is_f64() => "floating point".to_owned(),
        Value::Number(number) => format!("integer `{number}`"),
        // An enum's name, or a text.
        Value::String(text) => {
            return reason.contains(&format!("{text:?}")) || reason.contains(&format!("`{text}`"));
        }
        Value::Array(_) => return reason.contains("sequence") || reason.contains("invalid length"),
        Value::Object(_) => "map".to_owned(),
    };
    reason.contains(&described)
}

/// The document without the value that `path` leads to.
fn without(json: &Value, path: &[String]) -> Value {
    let mut changed = json.clone();
    if let Some((last, folder)) = path.split_last() {
        let place = folder
            .iter()
            .try_fold(&mut changed, |place, key| match place {
                Value::Object(map) => map.get_mut(key),
                Value::Array(list) => list.get_mut(key.parse::<usize>().ok()?),
                _ => None,
            });
        match place {
            Some(Value::Object(map)) => drop(map.remove(last)),
            Some(Value::Array(list)) => {
                if let Ok(index) = last.parse::<usize>() {
                    list.remove(index);
                }
            }
            _ => {}
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read")]
    struct Outer {
        id: usize,
        #[serde(flatten)]
        flat: Flat,
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read")]
    struct Flat {
        size: usize,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only read")]
    struct Inner {
        depth: usize,
        list: Vec<usize>,
    }

    fn found(json: Value) -> Option<String> {
        let reason = serde_json::from_value::<Outer>(json.clone())
            .unwrap_err()
            .to_string();
        culprit::<Outer>(&json, &reason)
    }

    #[test]
    fn keys_are_found_in_objects_lists_and_flattened_parts() {
        let inner = json!({"depth": 1, "list": [1, 2]});
        let said = |json| found(json).unwrap();
        assert_eq!(said(json!({"id": 1, "size": "x", "inner": inner})), "size");
        assert_eq!(said(json!({"id": [], "size": 2, "inner": inner})), "id");
        assert_eq!(
            said(json!({"id": 1, "size": 2, "inner": {"depth": null, "list": []}})),
            "inner.depth"
        );
        assert_eq!(
            said(json!({"id": 1, "size": 2, "inner": {"depth": 1, "list": [1, {}]}})),
            "inner.list.1"
        );
        assert_eq!(
            said(json!({"id": 1, "size": 2, "inner": {"depth": -3, "list": []}})),
            "inner.depth"
        );
    }

    #[test]
    fn a_missing_key_is_named_by_serde_itself() {
        assert_eq!(found(json!({"id": 1, "size": 2})), None);
    }
}
