//! The entries of a `--batch` file: JSON lines, a JSON array, or a prompt a line.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::line::Line;

/// One image of the file.
#[derive(Debug)]
pub struct Entry {
    /// `line 2` or `entry 2`, for messages.
    pub place: String,
    /// Its number in the file, from 0.
    pub index: usize,
    /// What it asks for.
    pub line: Result<Line>,
}

/// An element: a prompt, or an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Element {
    Prompt(String),
    Object(Map<String, Value>),
}

/// The entries of a text in its order.
///
/// # Errors
/// For a text that begins as a JSON array and is none.
pub fn entries(text: &str) -> Result<Vec<Entry>> {
    if is_array(text) {
        let elements: Vec<Element> = serde_json::from_str(text).context("its JSON array")?;
        let entry = |(index, element)| Entry {
            place: format!("entry {}", index + 1),
            index,
            line: of_element(element),
        };
        return Ok(elements.into_iter().enumerate().map(entry).collect());
    }
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let entry = |(index, line): (usize, &str)| Entry {
        place: format!("line {}", index + 1),
        index,
        line: of_line(line.trim()),
    };
    Ok(lines.map(entry).collect())
}

/// `[` alone may begin a prompt.
fn is_array(text: &str) -> bool {
    let inside = text.trim_start().strip_prefix('[');
    inside.is_some_and(|inside| {
        let first = inside.trim_start();
        // `["a", "b"]`, `[{..}, {..}]`, `[]`
        first.starts_with(['{', '"', ']']) && text.trim_end().ends_with(']')
            || first.starts_with('{')
    })
}

fn of_element(element: Element) -> Result<Line> {
    match element {
        Element::Prompt(prompt) => Ok(Line::of_prompt(prompt)),
        Element::Object(keys) => Line::read(keys),
    }
}

fn of_line(line: &str) -> Result<Line> {
    match line.starts_with('{') {
        true => Line::read(serde_json::from_str(line)?),
        false => Ok(Line::of_prompt(line.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        let entries = entries(text).unwrap();
        let place = |entry: Entry| match entry.line {
            Ok(_) => entry.place,
            Err(_) => format!("{} is broken", entry.place),
        };
        entries.into_iter().map(place).collect()
    }

    #[test]
    fn lines_arrays_and_prompts_are_read() {
        assert_eq!(
            places("{\"prompt\": \"x\"}\n\na red apple\n"),
            ["line 1", "line 3"]
        );
        assert_eq!(
            places("[{\"prompt\": \"x\"},\n \"a cat\"]\n"),
            ["entry 1", "entry 2"]
        );
        assert_eq!(
            places("[portrait] a cat\n\"quoted\" words"),
            ["line 1", "line 2"]
        );
        assert_eq!(places("{"), ["line 1 is broken"]);
        assert_eq!(places("[]"), [""; 0]);
        assert!(entries("[{\"prompt\": \"x\"},").is_err());
    }
}
