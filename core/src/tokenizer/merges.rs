//! Merges of a byte-pair vocabulary: two tokens that become one, by rank.

use crate::error::{Error, Result};

/// The merges of a `merges.txt`, in order.
///
/// # Errors
/// [`Error::Config`] for a line that is not two tokens.
pub(crate) fn read_merges(file: &str, merges: &[u8]) -> Result<Vec<[String; 2]>> {
    let text = std::str::from_utf8(merges).map_err(|_| Error::config(file, "is not UTF-8"))?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"))
        .map(|(number, line)| two_tokens(file, number, line))
        .collect()
}

/// A merge; `number` counts lines from 0.
pub(super) fn two_tokens(file: &str, number: usize, line: &str) -> Result<[String; 2]> {
    match line.split_once(' ') {
        Some((left, right)) => Ok([left.to_owned(), right.to_owned()]),
        None => {
            let reason = format!("line {}: `{line}` is not two tokens", number + 1);
            Err(Error::config(file, reason))
        }
    }
}
