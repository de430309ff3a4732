//! Translates the fields of errors to flags. This is the only place that knows both.

use x2i_core::{Error, Field};

use crate::terminal::printable;

/// The flag that sets a field; `prompt` is the argument without one.
pub fn word(field: Field) -> &'static str {
    match field {
        Field::Prompt => "prompt",
        Field::Image => "--image",
        Field::Video => "--video",
        Field::Audio => "--audio",
        Field::Size => "--size",
        Field::Width => "--size or --width",
        Field::Height => "--size or --height",
        Field::Steps => "--steps",
        Field::Guidance => "--guidance",
        Field::Cache => "--cache",
        Field::Seed => "--seed",
        Field::Conditioning => "--answer",
        Field::VideoFps => "--video-fps",
        Field::Init => "--init",
        Field::Strength => "--strength",
        Field::Control | Field::ControlScale => "--control",
        Field::ControlWeights => "--control-weights",
        Field::Lora | Field::LoraScale => "--lora",
        Field::Record => "--from",
        Field::Trust => "--trust",
        Field::Model => "--model",
        Field::Device => "--device",
        Field::MaxDeviceMemory => "--max-device-memory",
    }
}

/// The advice that a field's remedy adds to a message.
fn remedy(field: Field) -> String {
    let word = word(field);
    match field {
        Field::VideoFps => format!("ask for fewer frames with {word}"),
        Field::ControlWeights => format!("give them with {word}"),
        Field::Model => format!("choose the model with {word}"),
        Field::Trust => format!("or allow it with {word}, if you trust the image"),
        _ => format!("give it with {word}"),
    }
}

/// The message of a library error, with flags instead of fields.
pub fn sentence(error: &Error) -> String {
    match error {
        Error::Request { field, reason } => format!("{}: {reason}", word(*field)),
        Error::Field { field, source } => format!("{}: {}", word(*field), sentence(source)),
        Error::Remedy { source, field } => format!("{}; {}", sentence(source), remedy(*field)),
        other => other.to_string(),
    }
}

/// The chain of causes on one line, with flags instead of fields. A cause that the message before it
/// already quotes is not repeated.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let known = cause.downcast_ref::<Error>();
        let cause = known.map_or_else(|| cause.to_string(), sentence);
        if !line.contains(&cause) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&cause);
        }
        if known.is_some() {
            break; // `sentence` includes the causes
        }
    }
    // Messages of parsers and drivers have line ends; file names may have any character.
    let parts = line.split(['\n', '\r', '\t']).map(str::trim_end);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    cut(&printable(&parts.join(" ")))
}

/// The longest word of a message, in characters, and how much of it is shown from its beginning and its
/// end: the text of a bad value is often one, and so is a path, whose end is the file.
const WORD: (usize, usize, usize) = (200, 120, 80);
/// The longest message, in characters, and how much of it is shown from its beginning and its end.
const MESSAGE: (usize, usize, usize) = (2000, 1200, 400);

/// A message with long words and its own middle cut; counts say by how much.
pub fn cut(message: &str) -> String {
    let words = message.split(' ').map(|word| match shortened(word, WORD) {
        (shown, 0) => shown,
        (shown, _) => format!("{shown} ({} characters)", word.chars().count()),
    });
    let message = words.collect::<Vec<_>>().join(" ");
    match shortened(&message, MESSAGE) {
        (shown, 0) => shown,
        (shown, left) => format!("{shown} ({left} characters are left out)"),
    }
}

/// A text of at most `most` characters, or its beginning and its end; and how many are left out.
fn shortened(text: &str, (most, head, tail): (usize, usize, usize)) -> (String, usize) {
    let characters = text.chars().count();
    if characters <= most {
        return (text.to_owned(), 0);
    }
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(characters - tail).collect();
    (format!("{start}...{end}"), characters - head - tail)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn every_field_is_a_flag_or_the_prompt() {
        for &field in Field::ALL {
            let word = word(field);
            assert!(
                word.starts_with("--") || word == "prompt",
                "{field}: {word}"
            );
        }
    }

    #[test]
    fn a_field_is_worded_wherever_it_stands_in_a_chain() {
        let failed = || Err(Error::request(Field::Steps, "0 must be between 1 and 1000"));
        let line = |outcome: anyhow::Result<()>| one_line(&outcome.unwrap_err());
        assert_eq!(
            line(failed().map_err(anyhow::Error::from)),
            "--steps: 0 must be between 1 and 1000"
        );
        assert_eq!(
            line(failed().context("in.jsonl line 2").context("--batch")),
            "--batch: in.jsonl line 2: --steps: 0 must be between 1 and 1000"
        );
    }

    #[test]
    fn long_values_are_cut_with_a_count() {
        let value = "a".repeat(70_000);
        let line = one_line(&anyhow::anyhow!("--size: `{value}` is no size; give WxH"));
        let expected = format!(
            "--size: `{}...{}` (70002 characters) is no size; give WxH",
            "a".repeat(119),
            "a".repeat(79)
        );
        assert_eq!(line, expected);
        let words = one_line(&anyhow::anyhow!("out: {}: end", "b c ".repeat(20_000)));
        assert!(words.chars().count() < 1700, "{}", words.len());
        assert!(
            words.starts_with("out: b c") && words.contains("c : end ("),
            "{words}"
        );
        assert!(words.contains("characters are left out"), "{words}");
        assert_eq!(
            one_line(&anyhow::anyhow!("a\u{1b}[2J\r\nb")),
            "a\\u{1b}[2J b"
        );
    }

    #[test]
    fn a_remedy_ends_the_sentence_with_a_flag() {
        let error = Error::request(Field::Control, "needs LightControl's weights");
        assert_eq!(
            sentence(&error.mended_by(Field::ControlWeights)),
            "--control: needs LightControl's weights; give them with --control-weights"
        );
        let mistaken =
            Error::image("a.wav", "is an audio file, not an image").mended_by(Field::Audio);
        assert_eq!(
            sentence(&mistaken.at(Field::Image)),
            "--image: a.wav: is an audio file, not an image; give it with --audio"
        );
    }
}
