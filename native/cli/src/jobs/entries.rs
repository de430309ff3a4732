//! The entries of a `--batch` file: JSON lines, a JSON array, or a prompt a line.

use std::fmt;

use anyhow::{Context, Result, bail};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::line::Line;

/// The most entries of a file, as of `--num-images`.
const MOST: usize = 100_000;
/// The most bytes of one line: a prompt or a `data:` URL may have 16 MiB.
const LONGEST: usize = 32 << 20;

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

/// The elements of an array, at most [`MOST`]: counted as they are read, since an empty one takes three
/// bytes in the file and many more in memory.
struct Elements(Vec<Element>);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Elements;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Elements, A::Error> {
                let mut elements = vec![];
                while let Some(element) = array.next_element()? {
                    if elements.len() == MOST {
                        return Err(A::Error::custom(too_many()));
                    }
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

fn too_many() -> String {
    format!("has more than {MOST} entries; split it")
}

/// The entries of a text in its order.
///
/// # Errors
/// For a text that begins as a JSON array and is none; for too many entries, and for one that is too long.
pub fn entries(text: &str) -> Result<Vec<Entry>> {
    if is_array(text) {
        let Elements(elements) = serde_json::from_str(text).context("its JSON array")?;
        let entry = |(index, element)| Entry {
            place: format!("entry {}", index + 1),
            index,
            line: of_element(element),
        };
        return Ok(elements.into_iter().enumerate().map(entry).collect());
    }
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    if lines.clone().nth(MOST).is_some() {
        bail!(too_many());
    }
    if let Some((index, _)) = lines.clone().find(|(_, line)| line.len() > LONGEST) {
        let most = LONGEST >> 20;
        bail!("line {} is longer than {most} MiB", index + 1);
    }
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
    fn a_file_has_so_many_entries_and_no_more() {
        let refused = |text: &str| format!("{:#}", entries(text).unwrap_err());
        let lines = "a\n\n".repeat(MOST);
        assert_eq!(entries(&lines).unwrap().len(), MOST);
        assert!(refused(&(lines + "a")).contains("more than 100000 entries"));
        let array = format!("[{}\"\"]", "\"\",".repeat(MOST - 1));
        assert_eq!(entries(&array).unwrap().len(), MOST);
        let array = format!("[{}\"\"]", "\"\",".repeat(MOST));
        assert!(refused(&array).contains("more than 100000 entries"));
        let long = format!("a\n{}\nb", "b".repeat(LONGEST + 1));
        assert_eq!(refused(&long), "line 2 is longer than 32 MiB");
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
