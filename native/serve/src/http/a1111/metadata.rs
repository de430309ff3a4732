//! `png-info`: the settings of an image, from X2I's record or from A1111's text.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use x2i_core::Error;
use x2i_engine::format::read_facts;

use super::info::{Infotext, parse};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::intake::{self, Form};
use crate::http::reference;

const FORM: Form = Form {
    texts: &[],
    files: &[],
};
/// The name of an image in messages.
const IMAGE: &str = "image";
/// The keyword of A1111's text chunk.
const PARAMETERS: &str = "parameters";
/// The name of X2I's record among the items.
const RECORD: &str = "x2i";

/// An image.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = A1111Image)]
pub struct ImageBody {
    /// A PNG, JPEG or WebP as base64 or a data URL.
    image: String,
}

/// The settings of an image.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = A1111Info)]
pub struct Info {
    /// A1111's text; empty where the image has none.
    info: String,
    /// The texts that the file has.
    #[schema(value_type = Object)]
    items: Map<String, Value>,
    /// The text's fields.
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
}

/// The settings of an image: X2I's record as A1111's text, or A1111's text itself.
#[utoipa::path(post, path = "/sdapi/v1/png-info", tag = "a1111", request_body = ImageBody, responses((status = 200, body = Info), (status = "4XX", description = "no image"), (status = 503, description = "no room")))]
pub async fn png_info(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Info>, ApiError> {
    let body: ImageBody = intake::read(&app, request, FORM).await?.value;
    let input = reference::input(&app, &body.image, IMAGE, &[]).await?;
    let gone = || ApiError::param(IMAGE, "image: is not there any more");
    let path = app.inputs.path(&input.id).ok_or_else(gone)?;
    let read = tokio::task::spawn_blocking(move || info(&path)).await;
    let info = read.map_err(|_| ApiError::param(IMAGE, "image: can't be read"))?;
    Ok(Json(info.map_err(|error| {
        ApiError::param(IMAGE, error.to_string())
    })?))
}

fn info(path: &Path) -> Result<Info, Error> {
    let open = || File::open(path).map_err(|error| Error::image(IMAGE, error.to_string()));
    let facts = read_facts(IMAGE, open()?)?;
    let mut items = Map::new();
    let mut text = text_of(open()?);
    if let Some(text) = &text {
        items.insert(PARAMETERS.into(), Value::from(text.as_str()));
    }
    if let Some(metadata) = facts.metadata {
        let json = metadata
            .to_json()
            .map_err(|reason| Error::image(IMAGE, reason))?;
        items.insert(RECORD.into(), Value::from(json));
        text = Some(Infotext::of(&metadata).text());
    }
    let parameters = text.as_deref().map(parse).unwrap_or_default();
    Ok(Info {
        info: text.unwrap_or_default(),
        items,
        parameters,
    })
}

/// A1111's text of a PNG.
fn text_of(file: File) -> Option<String> {
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info().ok()?;
    reader.finish().ok()?; // chunks behind the pixels too
    let info = reader.info();
    let latin = info.uncompressed_latin1_text.iter();
    let mut latin = latin.filter(|chunk| chunk.keyword == PARAMETERS);
    let utf8 = info
        .utf8_text
        .iter()
        .find(|chunk| chunk.keyword == PARAMETERS);
    match (latin.next(), utf8) {
        (Some(chunk), _) => Some(chunk.text.clone()),
        (None, Some(chunk)) => chunk.get_text().ok(),
        (None, None) => None,
    }
}
