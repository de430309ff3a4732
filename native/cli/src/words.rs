//! What this program calls the fields of a request: its flags. The only place that knows both.

use x2i_core::{Error, Field};

/// The flag that sets a field; `prompt` is what stands without one.
pub fn word(field: Field) -> &'static str {
    match field {
        Field::Prompt => "prompt",
        Field::Width => "--size width",
        Field::Height => "--size height",
        Field::Steps => "--steps",
        Field::Guidance => "--guidance",
        Field::Seed => "--seed",
        Field::Conditioning => "--answer",
        Field::VideoFps => "--video-fps",
        Field::Strength => "--strength",
        Field::Control | Field::ControlScale => "--control",
        Field::ControlWeights => "--control-weights",
        Field::LoraScale => "--lora",
        Field::Device => "--device",
        Field::MaxDeviceMemory => "--max-device-memory",
    }
}

/// An error of the library in the words of this program.
pub fn sentence(error: &Error) -> String {
    match error {
        Error::Request { field, reason } => format!("{}: {reason}", word(*field)),
        other => other.to_string(),
    }
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
        let line = |outcome: anyhow::Result<()>| crate::one_line(&outcome.unwrap_err());
        assert_eq!(
            line(failed().map_err(anyhow::Error::from)),
            "--steps: 0 must be between 1 and 1000"
        );
        assert_eq!(
            line(failed().context("in.jsonl line 2").context("--batch")),
            "--batch: in.jsonl line 2: --steps: 0 must be between 1 and 1000"
        );
    }
}
