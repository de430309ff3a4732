//! What the package calls the fields of a request: the properties of its options. The only place
//! that knows both.

use x2i_core::{Error, Field};

/// The property that sets a field, by its path.
pub fn word(field: Field) -> &'static str {
    match field {
        Field::Prompt | Field::Image | Field::Video | Field::Audio => "prompt",
        Field::Size => "width and height",
        Field::Width => "width",
        Field::Height => "height",
        Field::Steps => "steps",
        Field::Guidance => "guidance",
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
        // A page hands over the metadata of an image as a request of its own.
        Field::Record => "metadata",
        Field::Model => "model",
        Field::Device => "device",
        // No option of the package: a browser's device is always filled as far as it goes.
        Field::MaxDeviceMemory => "device memory",
    }
}

/// An error of the library in the words of the package.
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
