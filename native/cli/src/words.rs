//! Translates the fields of errors to flags. This is the only place that knows both.

use x2i_core::{Error, Field};

/// The flag that sets a field; `prompt` is the argument without one.
pub fn word(field: Field) -> &'static str {
    match field {
        Field::Prompt => "prompt",
        Field::Image => "--image",
        Field::Video => "--video",
        Field::Audio => "--audio",
        Field::Size => "--size",
        Field::Width => "--size width",
        Field::Height => "--size height",
        Field::Steps => "--steps",
        Field::Guidance => "--guidance",
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
        Field::VideoFps => format!("ask for fewer with {word}"),
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
    // Messages of parsers and drivers have line ends; file names may have any control character.
    line.split(|c: char| c.is_control())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
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
