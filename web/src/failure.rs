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

    /// What the package's function for requests has thrown: an error with a code, or the browser's own.
    pub fn of_fetch(url: &str, error: &JsValue) -> Self {
        let code = js::get(error, "code").as_string().unwrap_or_default();
        match FETCHED.into_iter().find(|known| *known == code) {
            Some(code) => Self::new(code, describe(error)),
            None => Self::new("network", format!("{url}: {}", describe(error))),
        }
    }

    /// Whether wrong bytes of a model's files can be the reason.
    pub fn may_be_damage(&self) -> bool {
        let codes = [
            "cache-unavailable",
            "config",
            "device-lost",
            "format",
            "internal",
            "missing-tensor",
            "shape",
        ];
        codes.contains(&self.code)
    }

    /// A failure of a browser function, with the browser's message.
    pub fn of_browser(code: &'static str, what: &str, error: &JsValue) -> Self {
        Self::new(code, format!("{what}: {}", describe(error)))
    }
}

/// Codes that the package's own functions throw when they fetch.
const FETCHED: [&str; 5] = ["aborted", "config", "format", "missing-file", "network"];

/// The message of a thrown value: of an error, or of an object like one.
pub fn describe(error: &JsValue) -> String {
    let message = js::get(error, "message").as_string();
    let message = message.filter(|message| !message.is_empty());
    let text = || {
        let text = js_sys::JSON::stringify(error).ok();
        let text = text.and_then(|text| text.as_string());
        text.unwrap_or_else(|| "the browser gives no reason".to_owned())
    };
    let named = || Some(name(error)).filter(|name| !name.is_empty());
    message.or_else(named).unwrap_or_else(text)
}

/// The name of a thrown `DOMException` or `Error`.
pub fn name(error: &JsValue) -> String {
    let error = error.dyn_ref::<js_sys::Error>();
    error
        .map(|error| String::from(error.name()))
        .unwrap_or_default()
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // One of ours, on its way back from core.
        if let Error::Io { source, .. } = error.root()
            && let Some(ours) = source
                .get_ref()
                .and_then(|ours| ours.downcast_ref::<Self>())
        {
            return ours.clone();
        }
        let code = match error.root() {
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
            Error::Device { .. } | Error::NotANumber => "device-lost",
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
