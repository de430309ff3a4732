//! Errors for JavaScript: a code for programs and a message for people.

use std::borrow::Cow;

use wasm_bindgen::{JsCast, JsValue};
use x2i_core::{Error, Field};

use crate::{js, words};

/// A failure on its way to JavaScript, where it becomes `{ code, message }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of the package's documented codes.
    pub code: &'static str,
    /// What happened, and what to do.
    pub message: String,
}

/// This crate's result.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with this code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A field of a request that can't be used.
    pub fn request(field: Field, reason: impl Into<Cow<'static, str>>) -> Self {
        Error::request(field, reason).into()
    }

    /// The caller's signal stopped the work.
    pub fn aborted() -> Self {
        Self::new("aborted", "aborted")
    }

    /// A failure of a browser function, with the browser's message.
    pub fn of_browser(code: &'static str, what: &str, error: &JsValue) -> Self {
        Self::new(code, format!("{what}: {}", describe(error)))
    }
}

/// The message of a thrown value.
pub fn describe(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => error.as_string().unwrap_or_else(|| format!("{error:?}")),
    }
}

/// The name of a thrown `DOMException` or `Error`.
pub fn name(error: &JsValue) -> String {
    let error = error.dyn_ref::<js_sys::Error>();
    error
        .map(|error| String::from(error.name()))
        .unwrap_or_default()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::MissingTensor { .. } => "missing-tensor",
            Error::Shape { .. } => "shape",
            Error::Lora { .. } => "lora",
            Error::Format { .. } => "format",
            Error::Config { .. } => "config",
            Error::MissingFile { .. } => "missing-file",
            Error::Io { .. } => "network",
            Error::Request { .. } => "request",
            Error::Modality { .. } => "modality",
            Error::Image { .. } => "image",
            Error::Video { .. } => "video",
            Error::Audio { .. } => "audio",
            Error::Device { .. } => "device-lost",
            Error::Cancelled => "aborted",
            _ => "internal",
        };
        Self::new(code, words::sentence(&error))
    }
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> Self {
        let object = js_sys::Object::new();
        js::set(&object, "code", failure.code);
        js::set(&object, "message", failure.message);
        object.into()
    }
}
