//! Mutations of JSON: every key and element, replaced by what can't be, removed, or renamed.

use serde_json::{Map, Value, json};

use crate::random::Random;

/// A changed document.
pub struct Mutation {
    pub what: String,
    /// The key that was changed.
    pub key: String,
    pub bytes: Vec<u8>,
}

/// Keys and elements of one object or list that are looked into: a vocabulary has thousands.
const MOST_CHILDREN: usize = 24;

/// What takes the place of a value.
fn replacements() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(3),
        json!(1_000_000_000),
        json!(1_u64 << 31),
        json!(1_u64 << 40),
        json!(1_u64 << 63),
        json!(u64::MAX),
        json!(-0.5),
        json!(1e300),
        json!(""),
        json!("x"),
        json!("\u{1b}[31m\n"),
        json!("y".repeat(70_000)),
        json!([]),
        json!({}),
        json!([[[[[[[[1]]]]]]]]),
    ]
}

/// `count` mutations of a document, drawn by the generator.
pub fn mutations(json: &[u8], count: usize, random: &mut Random) -> Vec<Mutation> {
    let document: Value = serde_json::from_slice(json).expect("the base is JSON");
    let mut paths = Vec::new();
    collect(&document, &mut Vec::new(), &mut paths, random);
    let replacements = replacements();
    let mutate = |_| {
        let path = random.choose(&paths).clone();
        let key = path
            .iter()
            .rev()
            .find(|step| step.parse::<usize>().is_err());
        let key = key.cloned().unwrap_or_default();
        let (done, changed) = match random.below(10) {
            0 => ("removed".to_owned(), edit(&document, &path, &Edit::Remove)),
            1 => ("renamed".to_owned(), edit(&document, &path, &Edit::Rename)),
            _ => {
                let value = random.choose(&replacements);
                let shown: String = value.to_string().chars().take(24).collect();
                (shown, edit(&document, &path, &Edit::Replace(value.clone())))
            }
        };
        Mutation {
            what: format!("{} {done}", path.join(".")),
            key,
            bytes: changed.to_string().into_bytes(),
        }
    };
    (0..count).map(mutate).collect()
}

enum Edit {
    Remove,
    Rename,
    Replace(Value),
}

fn collect(
    value: &Value,
    path: &mut Vec<String>,
    paths: &mut Vec<Vec<String>>,
    random: &mut Random,
) {
    let mut children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => return,
    };
    if children.len() > MOST_CHILDREN {
        random.shuffle(&mut children);
        children.truncate(MOST_CHILDREN);
    }
    for (step, child) in children {
        path.push(step);
        paths.push(path.clone());
        collect(child, path, paths, random);
        path.pop();
    }
}

fn edit(value: &Value, path: &[String], what: &Edit) -> Value {
    let (step, rest) = path.split_first().expect("a path has a step");
    match value {
        Value::Object(map) => {
            let edited = map.iter().filter_map(|(key, child)| {
                if key != step {
                    return Some((key.clone(), child.clone()));
                }
                match (rest, what) {
                    ([], Edit::Remove) => None,
                    ([], Edit::Rename) => Some((format!("{key}_"), child.clone())),
                    ([], Edit::Replace(value)) => Some((key.clone(), value.clone())),
                    _ => Some((key.clone(), edit(child, rest, what))),
                }
            });
            Value::Object(edited.collect::<Map<_, _>>())
        }
        Value::Array(list) => {
            let edited = list.iter().enumerate().filter_map(|(index, child)| {
                if index.to_string() != *step {
                    return Some(child.clone());
                }
                match (rest, what) {
                    ([], Edit::Remove | Edit::Rename) => None,
                    ([], Edit::Replace(value)) => Some(value.clone()),
                    _ => Some(edit(child, rest, what)),
                }
            });
            Value::Array(edited.collect())
        }
        other => other.clone(),
    }
}
