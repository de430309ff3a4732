//! Makes text from models, files and people safe to print on a terminal.

/// Characters of a text that a table shows.
const SHOWN: usize = 1000;

/// The text as one line, in which no character moves the cursor or turns the direction of reading: line
/// ends and tabs become spaces, others their escapes.
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => line.push(' '),
            _ if is_unprintable(character) => line.extend(character.escape_unicode()),
            _ => line.push(character),
        }
    }
    line
}

/// [`printable`], line by line.
pub fn printable_lines(text: &str) -> String {
    let mut lines = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => lines += &(printable(line) + "\n"),
            None => lines += &printable(line),
        }
    }
    lines
}

/// JSON with escapes where a terminal would read a command; the values stay the same.
pub fn printable_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match is_unprintable(character) && character != '\n' {
            true => escaped += &format!("\\u{:04x}", u32::from(character)),
            false => escaped.push(character),
        }
    }
    escaped
}

/// Control characters, and those of Unicode that turn the direction of reading or end a line.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The beginning of a long text with the number of its characters, for a table.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}... ({} characters)", &text[..end], text.chars().count()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let hostile = "a\u{1b}[31m\u{9b}2J\u{7}\u{202e}b\tc\nd\u{7f}猫🍎";
        assert_eq!(
            printable(hostile),
            "a\\u{1b}[31m\\u{9b}2J\\u{7}\\u{202e}b c d\\u{7f}猫🍎"
        );
        assert_eq!(printable_lines("a\u{1b}\nb\r\n"), "a\\u{1b}\nb \n");
        for character in ('\0'..'\u{3000}').filter(|c| c.is_control()) {
            assert!(!printable(&character.to_string()).contains(char::is_control));
        }
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({"a": "\u{1b}\u{9b}\u{202e}\n猫"});
        let json = printable_json(&format!("{value:#}"));
        assert!(
            json.chars().all(|c| c == '\n' || !is_unprintable(c)),
            "{json:?}"
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&json).unwrap(),
            value
        );
    }

    #[test]
    fn long_texts_are_cut_with_a_count() {
        assert_eq!(shortened("猫"), "猫");
        let long = shortened(&"猫".repeat(84_000));
        assert!(long.ends_with("猫... (84000 characters)"));
        assert_eq!(long.matches('猫').count(), SHOWN);
    }
}
