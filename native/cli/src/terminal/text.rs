//! Makes text from models and files safe to print on a terminal.

/// The text as one line without control characters.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
