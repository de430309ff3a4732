//! Translates the fields of errors to the properties of the package's options. This is the only place
//! that knows both.

use x2i_core::{Error, Field};

/// The path of the property that sets a field.
pub fn word(field: Field) -> &'static str {
    match field {
        Field::Prompt | Field::Image | Field::Video | Field::Audio => "prompt",
        Field::Size => "width and height",
        Field::Width => "width",
        Field::Height => "height",
        Field::Steps => "steps",
        Field::Guidance => "guidance",
        Field::Cache => "cache",
        Field::Seed => "seed",
        Field::Conditioning => "conditioning",
        Field::VideoFps => "videoFps",
        Field::Init => "init.image",
        Field::Strength => "init.strength",
        Field::Control => "control",
        Field::ControlScale => "control.scale",
        Field::ControlWeights => "controlWeights",
        Field::Lora => "loras",
        Field::LoraScale => "loras.scale",
        // A page passes the metadata of an image as a request.
        Field::Record => "metadata",
        // A record of a page names no files.
        Field::Trust => "trust",
        Field::Model => "model",
        Field::Device => "device",
        Field::MaxDeviceMemory => "maxDeviceMemory",
    }
}

/// The message of a library error, with properties instead of fields.
pub fn sentence(error: &Error) -> String {
    match error {
        Error::Request { field, reason } => format!("{}: {reason}", word(*field)),
        Error::Field { field, source } => format!("{}: {}", word(*field), sentence(source)),
        Error::Remedy { source, field } => {
            format!("{}; give it as {}", sentence(source), word(*field))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_word_and_none_is_a_flag() {
        for &field in Field::ALL {
            let word = word(field);
            assert!(
                !word.is_empty() && !word.starts_with('-'),
                "{field}: {word}"
            );
        }
    }

    #[test]
    fn a_refused_field_is_named_as_its_property() {
        let error = Error::request(Field::ControlWeights, "LightControl needs its weights");
        assert_eq!(
            sentence(&error),
            "controlWeights: LightControl needs its weights"
        );
    }
}
