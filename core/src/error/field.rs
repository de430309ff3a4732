//! The names of what a caller can set, so that an error points at one without knowing the caller.
//!
//! Left out: the words that a command line, a page or a server has for them. Each surface keeps one
//! table from a field to its own word.

use std::fmt;

/// Declares the fields once: the list and the names can't miss one.
macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident: $name:literal,)*) => {
        /// One thing that a caller can set: in a request, in the files around it, or when a model is
        /// loaded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Field {
            $($(#[$doc])* $field,)*
        }

        impl Field {
            /// All fields, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$field,)*];

            /// The field in plain words, for logs and for programs without a word of their own.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)*
                }
            }
        }
    };
}

fields! {
    /// The prompt's text.
    Prompt: "prompt",
    /// An image in the prompt.
    Image: "image",
    /// A video in the prompt.
    Video: "video",
    /// A sound in the prompt.
    Audio: "audio",
    /// Width and height together.
    Size: "size",
    /// The image's width, in pixels.
    Width: "width",
    /// The image's height, in pixels.
    Height: "height",
    /// The number of steps.
    Steps: "steps",
    /// Guidance of a guidance-distilled transformer.
    Guidance: "guidance",
    /// Whether steps reuse the work of earlier ones.
    Cache: "cache",
    /// The seed of the noise.
    Seed: "seed",
    /// Whose hidden states paint: the prompt's, or those of the LLM's answer.
    Conditioning: "conditioning",
    /// Frames per second that are sampled from a video.
    VideoFps: "video frame rate",
    /// The image to start from.
    Init: "initial image",
    /// How far the initial image is left.
    Strength: "strength",
    /// The image that LightControl steers by.
    Control: "control",
    /// How much the control image counts.
    ControlScale: "control scale",
    /// LightControl's weights.
    ControlWeights: "control weights",
    /// A LoRA's file.
    Lora: "LoRA",
    /// How much a LoRA counts.
    LoraScale: "LoRA scale",
    /// The image whose record is repeated.
    Record: "record",
    /// Whether a record may name files anywhere and ask for any work.
    Trust: "trust",
    /// The model.
    Model: "model",
    /// The device that computes.
    Device: "device",
    /// The most bytes of weights and activations on the device.
    MaxDeviceMemory: "device memory",
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn fields_have_names_of_their_own_and_none_is_a_flag() {
        let names: BTreeSet<&str> = Field::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(names.len(), Field::ALL.len());
        assert!(
            names
                .iter()
                .all(|name| !name.is_empty() && !name.starts_with('-'))
        );
    }
}
