//! Bodies of requests: JSON or a form, read into one type. Files of a form go to disk as they come.

mod names;
pub mod weight;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

pub use names::Form;

use super::app::App;
use super::error::ApiError;
use crate::inputs::Receiving;
use crate::job::{InputFile, InputId};

/// The most fields of a form.
const MAX_FIELDS: usize = 256;
/// The most bytes of a form's texts.
const MAX_TEXT: usize = 8 << 20;

/// Floats below this are exact as whole numbers.
const MOST_EXACT: f64 = (1u64 << 53) as f64;

/// A request's body.
pub struct Intake<T> {
    /// What it says.
    pub value: T,
    /// The files of a form, with the names of their fields, in order.
    pub files: Vec<(String, InputFile)>,
    /// The digest of what was given.
    pub digest: InputId,
    /// What was given that is small: numbers, words, no lists and no files.
    pub small: Map<String, Value>,
    /// Its share of the bodies that are read at once.
    _share: OwnedSemaphorePermit,
}

/// Reads a body.
///
/// # Errors
/// For a body that is neither JSON nor a form, or too large; for a parameter that is unknown or of another type, by
/// its name.
pub async fn read<T: DeserializeOwned>(
    app: &Arc<App>,
    request: Request<Body>,
    form: Form,
) -> Result<Intake<T>, ApiError> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let length = length.unwrap_or(app.limits.body);
    if kind.starts_with("multipart/form-data") {
        let multipart = Multipart::from_request(request, app).await;
        let multipart = multipart
            .map_err(|error| ApiError::new(error.status(), "invalid_form", error.body_text()))?;
        // Its files go to disk.
        let share = weight::share(&app.bodies, length.min(2 * MAX_TEXT), app.limits.body).await?;
        return read_form(app, multipart, form, share).await;
    }
    // The last is what curl says where it is not told.
    let json = [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
    ];
    if !(kind.is_empty() || json.iter().any(|json| kind.starts_with(json))) {
        let message =
            format!("the body must be application/json or multipart/form-data, not {kind}");
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            message,
        ));
    }
    let share = weight::share(&app.bodies, length, app.limits.body).await?;
    read_json(app, request, share).await
}

async fn read_json<T: DeserializeOwned>(
    app: &Arc<App>,
    request: Request<Body>,
    share: OwnedSemaphorePermit,
) -> Result<Intake<T>, ApiError> {
    let bytes = Bytes::from_request(request, app).await;
    let bytes = bytes
        .map_err(|error| ApiError::new(error.status(), "body_unreadable", error.body_text()))?;
    weight::check(&bytes)?;
    let fields: Value = serde_json::from_slice(&bytes).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            format!("the body is no JSON: {error}"),
        )
    })?;
    let Value::Object(fields) = fields else {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            "the body must be a JSON object",
        ));
    };
    Ok(Intake {
        small: weight::small(&fields),
        value: typed(fields)?,
        files: vec![],
        digest: InputId::of(&bytes),
        _share: share,
    })
}

async fn read_form<T: DeserializeOwned>(
    app: &Arc<App>,
    mut multipart: Multipart,
    form: Form,
    share: OwnedSemaphorePermit,
) -> Result<Intake<T>, ApiError> {
    let mut fields = Map::new();
    let mut files = vec![];
    let mut texts = 0;
    while let Some(field) = multipart.next_field().await.map_err(broken)? {
        if fields.len() + files.len() >= MAX_FIELDS {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_form",
                "the form has too many fields",
            ));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.file_name().map(str::to_owned);
        let is_file = file_name.is_some();
        if !is_file {
            let text = field.bytes().await.map_err(broken)?;
            texts += text.len();
            if texts > MAX_TEXT {
                return Err(ApiError::param(name, "the form's texts are too long"));
            }
            weight::check(&text)?;
            let text = String::from_utf8(text.into())
                .map_err(|_| ApiError::param(&name, format!("{name}: is no UTF-8")))?;
            if !names::insert(&mut fields, &name, text, form) {
                return Err(ApiError::param(
                    &name,
                    format!("{name}: is given twice, or is no name of a field"),
                ));
            }
            continue;
        }
        let label = label(file_name.as_deref().unwrap_or_default(), &name);
        let id = receive(app, field).await?;
        files.push((
            name.trim_end_matches("[]").to_owned(),
            InputFile { id, name: label },
        ));
    }
    let ids: Vec<_> = files.iter().map(|(_, file)| &file.id).collect();
    let said = serde_json::to_vec(&(&fields, ids)).unwrap_or_default();
    Ok(Intake {
        digest: InputId::of(&said),
        small: weight::small(&fields),
        value: typed(fields)?,
        files,
        _share: share,
    })
}

/// Keeps a file of a form as it comes.
async fn receive(app: &Arc<App>, mut field: Field<'_>) -> Result<InputId, ApiError> {
    let mut receiving = app.inputs.receive()?;
    while let Some(chunk) = field.chunk().await.map_err(broken)? {
        receiving = write(receiving, chunk).await?;
    }
    Ok(app.inputs.finish(receiving)?)
}

fn broken(error: MultipartError) -> ApiError {
    ApiError::new(error.status(), "invalid_form", error.body_text())
}

/// Writes a chunk where it may take its time.
pub(super) async fn write(mut receiving: Receiving, chunk: Bytes) -> Result<Receiving, ApiError> {
    let written =
        tokio::task::spawn_blocking(move || receiving.write(&chunk).map(|()| receiving)).await;
    let lost = || {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the input was lost",
        )
    };
    Ok(written.map_err(|_| lost())??)
}

/// A file's name for records: without folders and control characters.
pub fn label(given: &str, field: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !c.is_control()).take(120).collect();
    match name.trim() {
        "" | "." | ".." => field.to_owned(),
        name => name.to_owned(),
    }
}

/// Fields as a type; `null` is the same as nothing.
///
/// # Errors
/// Naming what is wrong.
pub(super) fn typed<T: DeserializeOwned>(mut fields: Map<String, Value>) -> Result<T, ApiError> {
    fields.retain(|_, value| !value.is_null());
    fields.values_mut().for_each(whole);
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        match unknown_field(&message) {
            Some(name) => {
                let place = match path.as_str() {
                    "." => String::new(),
                    path => path
                        .strip_suffix(&format!(".{name}"))
                        .map(|path| format!("{path}."))
                        .unwrap_or_default(),
                };
                let place = if path == name { String::new() } else { place };
                ApiError::unknown_param(
                    format!("{place}{name}"),
                    format!("there is no parameter {place}{name}"),
                )
            }
            None if path == "." => match missing_field(&message) {
                Some(name) => ApiError::param(name, format!("{name}: is missing")),
                None => ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message),
            },
            None => ApiError::param(&path, format!("{path}: {message}")),
        }
    })
}

/// Numbers without a fraction are whole, however they are written: JSON knows no integers, and programs write `4.0`.
fn whole(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(whole),
        Value::Object(fields) => fields.values_mut().for_each(whole),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            if number.fract() == 0.0 && number.abs() < MOST_EXACT {
                *value = Value::from(number as i64);
            }
        }
        _ => {}
    }
}

/// The name in serde's sentence of an unknown field.
fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

/// The name in serde's sentence of a missing field.
fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Example {
        prompt: String,
        steps: Option<usize>,
    }

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |value| typed::<Example>(fields(value)).unwrap_err();
        let error = refused(json!({"prompt": "a", "colour": 1}));
        assert_eq!(error.failure.param.as_deref(), Some("colour"));
        assert_eq!(error.failure.message, "there is no parameter colour");
        let error = refused(json!({"prompt": "a", "steps": "many"}));
        assert_eq!(error.failure.param.as_deref(), Some("steps"));
        let error = refused(json!({"steps": 1}));
        assert_eq!(error.failure.param.as_deref(), Some("prompt"));
        assert!(typed::<Example>(fields(json!({"prompt": "a", "steps": null}))).is_ok());
        let four = typed::<Example>(fields(json!({"prompt": "a", "steps": 4.0})));
        assert_eq!(four.unwrap().steps, Some(4));
        assert!(typed::<Example>(fields(json!({"prompt": "a", "steps": 4.5}))).is_err());
    }

    #[test]
    fn a_files_name_has_no_folder() {
        assert_eq!(label("../../etc/passwd", "image"), "passwd");
        assert_eq!(label("C:\\a\\b.png", "image"), "b.png");
        assert_eq!(label("..", "image"), "image");
        assert_eq!(label("", "image"), "image");
    }
}
