//! Text of others on a terminal.

/// A model's text on a terminal: one line, without control characters.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
