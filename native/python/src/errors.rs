//! Errors of the library as Python's exceptions; fields become arguments. The only place that knows both.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use x2i_core::{Error, Field};

/// The argument of Python that sets a field.
pub(crate) fn argument(field: Field) -> &'static str {
    match field {
        Field::Prompt => "prompt",
        Field::Image => "images",
        Field::Video => "video",
        Field::Audio => "audio",
        Field::Size => "width and height",
        Field::Width => "width",
        Field::Height => "height",
        Field::Steps => "steps",
        Field::Guidance => "guidance",
        Field::Cache => "cache",
        Field::Seed => "seed",
        Field::Conditioning => "conditioning",
        Field::VideoFps => "video_fps",
        Field::Init => "init",
        Field::Strength => "strength",
        Field::Control => "control",
        Field::ControlScale => "control_scale",
        Field::ControlWeights => "control_weights",
        Field::Lora | Field::LoraScale => "loras",
        Field::Record | Field::Trust => "metadata",
        Field::Model => "model",
        Field::Device => "device",
        Field::MaxDeviceMemory => "max_device_memory",
    }
}

/// The advice that a field's remedy adds to a message.
fn remedy(field: Field) -> String {
    let argument = argument(field);
    match field {
        Field::VideoFps => format!("ask for fewer frames with {argument}"),
        Field::ControlWeights => {
            format!("give them to from_pretrained with {argument}")
        }
        Field::Model => "choose another model in from_pretrained".into(),
        _ => format!("give it with {argument}"),
    }
}

/// The message of an error, with arguments instead of fields.
fn sentence(error: &Error) -> String {
    match error {
        Error::Request { field, reason } => format!("{}: {reason}", argument(*field)),
        Error::Field { field, source } => format!("{}: {}", argument(*field), sentence(source)),
        Error::Remedy { source, field } => format!("{}; {}", sentence(source), remedy(*field)),
        other => other.to_string(),
    }
}

/// The argument that an error is about.
fn about(error: &Error) -> Option<&'static str> {
    match error {
        Error::Request { field, .. } | Error::Field { field, .. } => Some(argument(*field)),
        Error::Remedy { source, .. } => about(source),
        _ => None,
    }
}

/// The exception of a library's error.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    match (error.root(), about(error)) {
        (Error::Cancelled, _) => made(py, "Cancelled", ("cancelled",)),
        (_, Some(argument)) => made(py, "InputError", (sentence(error), argument)),
        (_, None) => made(py, "Error", (sentence(error),)),
    }
}

/// An exception about no argument.
pub(crate) fn failed(py: Python<'_>, message: impl Into<String>) -> PyErr {
    made(py, "Error", (message.into(),))
}

/// An exception about an argument.
pub(crate) fn refused(py: Python<'_>, argument: &str, reason: &str) -> PyErr {
    made(
        py,
        "InputError",
        (format!("{argument}: {reason}"), argument),
    )
}

/// An instance of one of `x2i._errors`' classes, or why there is none.
fn made<'py>(py: Python<'py>, class: &str, arguments: impl pyo3::call::PyCallArgs<'py>) -> PyErr {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let errors = ERRORS.get_or_try_init(py, || {
        py.import(intern!(py, "x2i._errors")).map(Bound::unbind)
    });
    let instance = errors.and_then(|errors| errors.bind(py).getattr(class)?.call1(arguments));
    match instance {
        Ok(instance) => PyErr::from_value(instance),
        Err(error) => error,
    }
}
