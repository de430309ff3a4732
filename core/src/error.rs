//! One error type for the whole library: a variant per fact, a message a user can act on.

mod field;

pub use field::Field;

use std::borrow::Cow;

/// What went wrong. Messages are lower case, name the file, tensor or field, and say what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The weights hold no tensor of this name (in any naming that we know).
    #[error("{file}: tensor `{name}` is missing")]
    MissingTensor {
        /// Where it was looked for.
        file: String,
        /// The tensor's name.
        name: String,
    },
    /// A tensor has another shape than the config asks for.
    #[error("{file}: tensor `{name}` has shape {found:?}, the config asks for {expected:?}")]
    Shape {
        /// The weight file.
        file: String,
        /// The tensor's name.
        name: String,
        /// What the config asks for.
        expected: Vec<usize>,
        /// What the file holds.
        found: Vec<usize>,
    },
    /// A LoRA does not fit the transformer.
    #[error("{file}: {}", .problems.join("; "))]
    Lora {
        /// The LoRA's file.
        file: String,
        /// Every key that matches nothing, every half without its other half, every wrong shape.
        problems: Vec<String>,
    },
    /// A weight file breaks its format's rules, or uses a part of it that we do not read.
    #[error("{file}: {reason}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// A config asks for something impossible, or for something we do not have.
    #[error("{file}: {reason}")]
    Config {
        /// The config file, or the part of it.
        file: String,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// A file that the model needs is not there.
    #[error("{file}: file not found")]
    MissingFile {
        /// Its path inside the model folder.
        file: String,
    },
    /// Reading or writing failed.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// The system's own error.
        source: std::io::Error,
    },
    /// One field of a request is out of range.
    #[error("{field}: {reason}")]
    Request {
        /// The field. A surface puts its own word in place of the field's name.
        field: Field,
        /// What is wrong with it, without the words of any surface.
        reason: Cow<'static, str>,
    },
    /// What was given for a field can't be used.
    #[error("{field}: {source}")]
    Field {
        /// The field. A surface puts its own word in place of the field's name.
        field: Field,
        /// Why.
        source: Box<Error>,
    },
    /// Another field would mend this error; a surface says so in its own words.
    #[error("{source}")]
    Remedy {
        /// What went wrong.
        source: Box<Error>,
        /// The field to set.
        field: Field,
    },
    /// The prompt holds a kind of input that this model can't read.
    #[error("{model} can't read {modality}; models that can: {alternatives}")]
    Modality {
        /// The model's name.
        model: String,
        /// `image`, `video` or `audio`.
        modality: &'static str,
        /// Models that read it.
        alternatives: &'static str,
    },
    /// An input picture can't be used.
    #[error("{name}: {reason}")]
    Image {
        /// The picture's name.
        name: String,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// An input video can't be used.
    #[error("{name}: {reason}")]
    Video {
        /// The video's name.
        name: String,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// An input sound can't be used.
    #[error("{name}: {reason}")]
    Audio {
        /// The sound's name.
        name: String,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// A device is not there, was lost, or can't do what is asked.
    #[error("device {device}: {reason}")]
    Device {
        /// The device as the user names it.
        device: String,
        /// What happened.
        reason: Cow<'static, str>,
    },
    /// The decoded image holds NaN.
    #[error("the model's output holds NaN: the weights or the device are broken")]
    NotANumber,
    /// The caller's progress function asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A weight file that breaks its format.
    pub fn format(file: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Format {
            file: file.into(),
            reason: reason.into(),
        }
    }

    /// A config that can't be used.
    pub fn config(file: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Config {
            file: file.into(),
            reason: reason.into(),
        }
    }

    /// A request's field that is out of range.
    pub fn request(field: Field, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Request {
            field,
            reason: reason.into(),
        }
    }

    /// Attributes the error to the field that was given. An error that names a field keeps it.
    pub fn at(self, field: Field) -> Self {
        match self {
            named @ (Self::Request { .. } | Self::Field { .. } | Self::Cancelled) => named,
            source => Self::Field {
                field,
                source: Box::new(source),
            },
        }
    }

    /// Says which field would mend the error.
    pub fn mended_by(self, field: Field) -> Self {
        Self::Remedy {
            source: Box::new(self),
            field,
        }
    }

    /// The error itself, without the fields around it.
    pub fn root(&self) -> &Self {
        match self {
            Self::Field { source, .. } | Self::Remedy { source, .. } => source.root(),
            error => error,
        }
    }

    /// A picture that can't be used.
    pub fn image(name: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Image {
            name: name.into(),
            reason: reason.into(),
        }
    }

    /// A video that can't be used.
    pub fn video(name: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Video {
            name: name.into(),
            reason: reason.into(),
        }
    }

    /// A sound that can't be used.
    pub fn audio(name: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Audio {
            name: name.into(),
            reason: reason.into(),
        }
    }

    /// A device that is not there or failed.
    pub fn device(device: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Device {
            device: device.into(),
            reason: reason.into(),
        }
    }
}

/// A failed readback: the device was lost, or ran out of memory.
impl From<burn::tensor::ExecutionError> for Error {
    fn from(error: burn::tensor::ExecutionError) -> Self {
        Self::device("(running)", error.to_string())
    }
}
