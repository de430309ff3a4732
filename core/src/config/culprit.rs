//! Which key of a config serde refused: its errors name the keys that are missing, but not those whose values are
//! of another type.
//!
//! A key is the culprit when the message describes its value, and another value of a wrong type in its place gives the
//! same expectation, "expected usize"; for errors without one, when the error is another one without the key. Everything here runs only after an error.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The most keys that are tried. Published configs have some hundred.
const MOST_TRIES: usize = 2000;

/// The path of the key that `reason`, serde's message, is about: `vision_config.depth`.
pub(super) fn culprit<T: DeserializeOwned>(json: &Value, reason: &str) -> Option<String> {
    let mut path = Vec::new();
    let mut tries = MOST_TRIES;
    let error = |json: &Value| {
        let outcome = serde_json::from_value::<T>(json.clone());
        outcome.err().map(|error| error.to_string())
    };
    let is_culprit = |path: &[String], value: &Value| {
        let marked = [Value::from(MARKER), Value::Bool(true)].map(|marker| {
            let found = error(&changed(json, path, Some(marker)));
            found.unwrap_or_default()
        });
        let expects = |text: &str| {
            text.rsplit_once(", expected ")
                .map(|(_, what)| what.to_owned())
        };
        match expects(reason) {
            Some(_) if !describes(reason, value) => false,
            Some(what) => marked
                .iter()
                .zip([MARKER, "boolean `true`"])
                .any(|(found, marker)| {
                    found.contains(marker)
                        && expects(found).is_some_and(|found| what.starts_with(&found))
                }),
            None => {
                let same = marked.iter().any(|found| found == reason);
                same && error(&changed(json, path, None)).as_deref() != Some(reason)
            }
        }
    };
    find(json, &mut path, &mut tries, &is_culprit).then(|| path.join("."))
}

/// A text that no config holds.
const MARKER: &str = "x2i looks for a key";

/// Looks below `place`, which `path` leads to from `root`.
fn find(
    place: &Value,
    path: &mut Vec<String>,
    tries: &mut usize,
    is_culprit: &dyn Fn(&[String], &Value) -> bool,
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
        if *tries == 0 {
            return false;
        }
        *tries -= 1;
        path.push(key);
        if find(child, path, tries, is_culprit) {
            return true;
        }
        if is_culprit(path, child) {
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
    let reason = reason
        .rsplit_once(", expected ")
        .map_or(reason, |(found, _)| found);
    match value {
        Value::Null => reason.contains("null"),
        Value::Bool(value) => reason.contains(&format!("boolean `{value}`")),
        Value::Number(number) if number.is_f64() => reason.contains("floating point"),
        Value::Number(number) => reason.contains(&format!("integer `{number}`")),
        Value::String(text) => {
            let variant = format!("`{text}`");
            reason.contains(&format!("string {text:?}")) || reason.contains(&variant)
        }
        Value::Array(list) => {
            let length = format!("invalid length {}", list.len());
            reason.contains("sequence") || reason.contains(&length)
        }
        Value::Object(_) => reason.contains("map"),
    }
}

/// The document with `value` where `path` leads to, or with nothing there.
fn changed(json: &Value, path: &[String], value: Option<Value>) -> Value {
    let mut changed = json.clone();
    let Some((last, folder)) = path.split_last() else {
        return changed;
    };
    let place = folder
        .iter()
        .try_fold(&mut changed, |place, key| match place {
            Value::Object(map) => map.get_mut(key),
            Value::Array(list) => list.get_mut(key.parse::<usize>().ok()?),
            _ => None,
        });
    match (place, last.parse::<usize>(), value) {
        (Some(Value::Object(map)), _, Some(value)) => drop(map.insert(last.clone(), value)),
        (Some(Value::Object(map)), _, None) => drop(map.remove(last)),
        (Some(Value::Array(list)), Ok(index), Some(value)) => list[index] = value,
        (Some(Value::Array(list)), Ok(index), None) => drop(list.remove(index)),
        _ => {}
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
    fn a_value_of_the_right_type_is_not_blamed_for_another() {
        // `list` is a sequence, as the message says of `id`.
        let inner = json!({"depth": 1, "list": [1]});
        let json = json!({"inner": inner, "size": 2, "id": []});
        assert_eq!(found(json).unwrap(), "id");
    }

    #[test]
    fn lists_of_a_wrong_length_are_found() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code, reason = "only read")]
        struct Lists {
            mean: [f64; 3],
            std: [f64; 3],
        }
        let json = json!({"mean": [1, 2, 3], "std": [1, 2]});
        let reason = serde_json::from_value::<Lists>(json.clone()).unwrap_err();
        let found = culprit::<Lists>(&json, &reason.to_string());
        assert_eq!(found.as_deref(), Some("std"));
    }

    #[test]
    fn a_missing_key_is_named_by_serde_itself() {
        assert_eq!(found(json!({"id": 1, "size": 2})), None);
    }
}
