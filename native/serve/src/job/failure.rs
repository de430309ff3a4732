//! Why a job failed or was not taken: a code for programs, a sentence for people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use x2i_core::{Error, Field};

/// What kind of failure it is, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The order can't be done: a number is out of range, a file is no image, ...
    InvalidRequest,
    /// The server has no such model.
    ModelNotFound,
    /// The queue has no room.
    QueueFull,
    /// The server stops, or has no worker.
    Unavailable,
    /// The job was cancelled.
    Canceled,
    /// The job waited or ran for longer than it may.
    Expired,
    /// A device, a file of a model or the server itself failed.
    Internal,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its kind.
    pub code: Code,
    /// One sentence.
    pub message: String,
    /// The parameter that was wrong, as clients name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// Seconds after which the same request may be taken ([`Code::QueueFull`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<f64>,
}

impl Failure {
    /// A failure without a parameter.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// A parameter that is wrong.
    pub fn param(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..Self::new(Code::InvalidRequest, message)
        }
    }
}

/// The parameter that sets a field.
pub fn param(field: Field) -> &'static str {
    match field {
        Field::Prompt => "prompt",
        Field::Image => "image",
        Field::Video => "video",
        Field::Audio => "audio",
        Field::Size => "size",
        Field::Width => "width",
        Field::Height => "height",
        Field::Steps => "steps",
        Field::Guidance => "guidance",
        Field::Cache => "cache",
        Field::Seed => "seed",
        Field::Conditioning => "conditioning",
        Field::VideoFps => "video_fps",
        Field::Init => "init_image",
        Field::Strength => "strength",
        Field::Control => "control",
        Field::ControlScale => "control.scale",
        Field::ControlWeights => "control",
        Field::Lora => "loras",
        Field::LoraScale => "loras.scale",
        Field::Record | Field::Trust => "record",
        Field::Model => "model",
        Field::Device => "device",
        Field::MaxDeviceMemory => "max_device_memory",
    }
}

/// The field that an error names, on whatever level.
fn field(error: &Error) -> Option<Field> {
    match error {
        Error::Request { field, .. } | Error::Field { field, .. } => Some(*field),
        Error::Remedy { source, .. } => field(source),
        _ => None,
    }
}

/// The sentence of an error without the names of its fields, which are told beside it.
fn sentence(error: &Error) -> String {
    match error {
        Error::Request { field, reason } => format!("{}: {reason}", param(*field)),
        Error::Field { field, source } => format!("{}: {}", param(*field), sentence(source)),
        Error::Remedy {
            source,
            field: Field::ControlWeights,
        } => {
            format!("{}; the server has none for this model", sentence(source))
        }
        Error::Remedy { source, field } => {
            format!("{}; give it as {}", sentence(source), param(*field))
        }
        error => error.to_string(),
    }
}

impl From<Error> for Failure {
    /// What a client may know of an error: its own parameters, or that the server failed.
    fn from(error: Error) -> Self {
        let message = sentence(&error);
        match (error.root(), field(&error)) {
            (Error::Device { .. }, _) => Self::new(
                Code::Internal,
                "the device failed; the server's log says more",
            ),
            (Error::Cancelled, _) => Self::new(Code::Canceled, "the job was cancelled"),
            (Error::Modality { modality, .. }, _) => Self::param(*modality, message),
            (_, Some(Field::Model)) => Self {
                code: Code::ModelNotFound,
                ..Self::param("model", message)
            },
            (_, Some(Field::Device | Field::MaxDeviceMemory)) | (Error::Io { .. }, _) => {
                Self::new(Code::Internal, message)
            }
            (_, Some(field)) => Self::param(param(field), message),
            (Error::Image { .. }, None) => Self::param("image", message),
            (Error::Video { .. }, None) => Self::param("video", message),
            (Error::Audio { .. }, None) => Self::param("audio", message),
            _ => Self::new(Code::Internal, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_mistake_names_its_parameter() {
        let failure = Failure::from(Error::request(Field::Steps, "0 must be between 1 and 1000"));
        assert_eq!(failure.code, Code::InvalidRequest);
        assert_eq!(failure.param.as_deref(), Some("steps"));
        assert_eq!(failure.message, "steps: 0 must be between 1 and 1000");
        let failure = Failure::from(Error::image("a.png", "is not an image").at(Field::Init));
        assert_eq!(failure.param.as_deref(), Some("init_image"));
    }

    #[test]
    fn what_the_server_did_wrong_is_not_the_clients_mistake() {
        assert_eq!(Failure::from(Error::NotANumber).code, Code::Internal);
        assert_eq!(
            Failure::from(Error::device("wgpu:0", "was lost")).code,
            Code::Internal
        );
        assert_eq!(Failure::from(Error::Cancelled).code, Code::Canceled);
    }
}
