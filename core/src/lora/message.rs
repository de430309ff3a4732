//! Lists of keys and problems in messages: a file may have thousands.

/// The number of keys, or problems, that a message names.
const MOST_NAMED: usize = 10;
/// Characters of a key that a message shows.
const MOST_CHARACTERS: usize = 120;

/// The first ones of a list; the others are counted.
pub(super) fn some<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<&str> = items.into_iter().collect();
    let named: Vec<String> = items
        .iter()
        .take(MOST_NAMED)
        .map(|key| short(key))
        .collect();
    match items.len().saturating_sub(MOST_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// A key, cut where it is long.
pub(super) fn short(key: &str) -> String {
    match key.char_indices().nth(MOST_CHARACTERS) {
        None => key.to_owned(),
        Some((end, _)) => format!("{}...", &key[..end]),
    }
}

/// The first ones of all problems, and the number of the others.
pub(super) fn some_problems(problems: Vec<String>) -> Vec<String> {
    let more = problems.len().saturating_sub(MOST_NAMED);
    let mut named: Vec<String> = problems.into_iter().take(MOST_NAMED).collect();
    if more > 0 {
        named.push(format!("and {more} more problems"));
    }
    named
}

/// `1 key changes`, `2 keys change`.
pub(super) fn keys(count: usize, verb: &str) -> String {
    match count {
        1 => format!("1 key {verb}s"),
        count => format!("{count} keys {verb}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_are_named_and_the_rest_is_counted() {
        let all: Vec<String> = (0..25).map(|at| format!("key{at}.")).collect();
        let text = some(all.iter().map(String::as_str));
        assert!(text.contains("key9.") && !text.contains("key10."), "{text}");
        assert!(text.ends_with("and 15 more"), "{text}");
        assert_eq!(some(["a", "b"]), "a, b");
        assert_eq!(some_problems(all).len(), 11);
        let long = "ü".repeat(70_000);
        assert!(some([long.as_str()]).len() < 300);
    }
}
