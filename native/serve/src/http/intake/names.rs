//! Names of a form's fields as paths: `a[b]` is `b` in the object `a`, `a[]` adds to the list `a`, `a[][b]` is `b` in the
//! last object of the list `a`, or in a new one where the last has a `b`. OpenAI's SDKs write nested JSON so.

use serde_json::{Map, Value};

/// The deepest path.
const DEEPEST: usize = 8;

/// What a route knows of its form's fields: those that are texts even where they look like numbers, and those of one
/// name that make a list.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Fields that are texts.
    pub texts: &'static [&'static str],
    /// Fields that are files, with or without `[]`; a text in them refers to a file.
    pub files: &'static [&'static str],
}

/// Sets a form's field; false for a name that is no path, or that contradicts an earlier one.
pub(super) fn insert(
    fields: &mut Map<String, Value>,
    name: &str,
    text: String,
    form: Form,
) -> bool {
    let Some((head, path)) = parse(name) else {
        return false;
    };
    let named = path.iter().rev().find(|key| !key.is_empty());
    let is_file = form.files.contains(&head);
    let is_text = is_file || form.texts.contains(named.unwrap_or(&head));
    let value = match is_text {
        true => Value::String(text),
        false => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    };
    // A file's field that comes again makes a list, with or without `[]`.
    if let (true, true, Some(first)) = (is_file, path.is_empty(), fields.get_mut(head)) {
        match first {
            Value::Array(values) => values.push(value),
            first => *first = Value::Array(vec![first.take(), value]),
        }
        return true;
    }
    match fields.get_mut(head) {
        Some(place) => set(place, &path, value),
        None => {
            let mut place = Value::Null;
            let set = set(&mut place, &path, value);
            fields.insert(head.to_owned(), place);
            set
        }
    }
}

/// `a[b][]` as `a` and `["b", ""]`.
fn parse(name: &str) -> Option<(&str, Vec<&str>)> {
    let Some(at) = name.find('[') else {
        return Some((name, vec![]));
    };
    let (head, rest) = name.split_at(at);
    let inner = rest.strip_prefix('[')?.strip_suffix(']')?;
    let path: Vec<_> = inner.split("][").collect();
    let is_path = path.len() <= DEEPEST && path.iter().all(|key| !key.contains(['[', ']']));
    is_path.then_some((head, path))
}

fn set(place: &mut Value, path: &[&str], value: Value) -> bool {
    let Some((key, rest)) = path.split_first() else {
        let is_new = place.is_null();
        *place = value;
        return is_new;
    };
    if place.is_null() {
        *place = match key.is_empty() {
            true => Value::Array(vec![]),
            false => Value::Object(Map::new()),
        };
    }
    match (key.is_empty(), place) {
        (true, Value::Array(values)) => {
            if let (Some(last), Some(next)) = (values.last_mut(), rest.first())
                && !next.is_empty()
                && !has(last, rest)
            {
                return set(last, rest, value);
            }
            values.push(Value::Null);
            values.last_mut().is_some_and(|last| set(last, rest, value))
        }
        (false, Value::Object(fields)) => {
            set(fields.entry(*key).or_insert(Value::Null), rest, value)
        }
        _ => false,
    }
}

/// Whether an object has all that comes before a path, so that what comes belongs to the next object of its list: fields
/// come object by object, each of them once. A list has no end.
fn has(value: &Value, path: &[&str]) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return !value.is_null();
    };
    let (false, Value::Object(fields)) = (key.is_empty(), value) else {
        return false;
    };
    let is_last = fields.keys().next_back().is_some_and(|last| last == key);
    match fields.get(*key) {
        Some(inner) => !is_last || has(inner, rest),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FORM: Form = Form {
        texts: &["prompt", "name", "text"],
        files: &["image"],
    };

    fn form(pairs: &[(&str, &str)]) -> Option<Value> {
        let mut fields = Map::new();
        let all = pairs
            .iter()
            .all(|(name, text)| insert(&mut fields, name, (*text).into(), FORM));
        all.then_some(Value::Object(fields))
    }

    #[test]
    fn forms_say_what_json_says() {
        let said = form(&[
            ("prompt", "7"),
            ("steps", "4"),
            ("stream", "true"),
            ("x2i[steps]", "3"),
            ("a[]", "1"),
            ("a[]", "2"),
            ("image", "one"),
            ("image", "two"),
        ]);
        let expected = json!({
            "prompt": "7", "steps": 4, "stream": true, "x2i": {"steps": 3}, "a": [1, 2], "image": ["one", "two"],
        });
        assert_eq!(said, Some(expected));
    }

    #[test]
    fn objects_of_a_list_follow_each_other() {
        let said = form(&[
            ("loras[][name]", "1"),
            ("loras[][scale]", "0.5"),
            ("loras[][name]", "b"),
            ("turns[][parts][][text]", "one"),
            ("turns[][parts][][text]", "two"),
            ("turns[][answer]", "yes"),
            ("turns[][parts][][text]", "three"),
            ("turns[][answer]", "no"),
        ]);
        let expected = json!({
            "loras": [{"name": "1", "scale": 0.5}, {"name": "b"}],
            "turns": [
                {"parts": [{"text": "one"}, {"text": "two"}], "answer": "yes"},
                {"parts": [{"text": "three"}], "answer": "no"},
            ],
        });
        assert_eq!(said, Some(expected));
    }

    #[test]
    fn names_that_are_no_paths_or_contradict_are_refused() {
        for name in [
            "a[",
            "a]b[",
            "a[b",
            "a[[b]]",
            &"a[b]".replace("[b]", &"[b]".repeat(9)),
        ] {
            assert_eq!(form(&[(name, "1")]), None, "{name}");
        }
        assert_eq!(form(&[("a", "1"), ("a[b]", "2")]), None);
        assert_eq!(form(&[("a[b]", "1"), ("a[]", "2")]), None);
        assert_eq!(form(&[("a", "1"), ("a", "2")]), None);
    }
}
