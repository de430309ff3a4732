//! `options`: of the web UI's settings, the model alone is one.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tasks::Tasks;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::intake::{self, Form};
use crate::job::{Code, Failure};

const FORM: Form = Form {
    texts: &[],
    files: &[],
};

/// Settings of the server, for clients of `/sdapi` alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Options)]
pub struct Options {
    /// The model that paints.
    sd_model_checkpoint: Option<String>,
    sd_checkpoint_hash: &'static str,
    sd_vae: &'static str,
    samples_format: &'static str,
    #[serde(rename = "CLIP_stop_at_last_layers")]
    clip_stop_at_last_layers: usize,
}

/// New settings. Others than the model are ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = A1111NewOptions)]
pub struct NewOptions {
    /// The model that paints for clients of `/sdapi` from now on.
    sd_model_checkpoint: Option<String>,
}

/// The settings.
#[utoipa::path(get, path = "/sdapi/v1/options", tag = "a1111", responses((status = 200, body = Options), (status = 503, description = "the queue can't be reached")))]
pub async fn get(
    State(app): State<Arc<App>>,
    Extension(tasks): Extension<Arc<Tasks>>,
) -> Result<Json<Options>, ApiError> {
    let names = app.model_names().await?;
    let chosen = tasks.model().filter(|name| names.contains(name));
    Ok(Json(Options {
        sd_model_checkpoint: chosen.or_else(|| names.into_iter().next()),
        sd_checkpoint_hash: "",
        sd_vae: "None",
        samples_format: "png",
        clip_stop_at_last_layers: 1,
    }))
}

/// Chooses the model of all clients of `/sdapi` that name none; the next image loads it.
#[utoipa::path(post, path = "/sdapi/v1/options", tag = "a1111", request_body = NewOptions, responses((status = 200, description = "`null`"), (status = "4XX", description = "no such model"), (status = 503, description = "the queue can't be reached")))]
pub async fn set(
    State(app): State<Arc<App>>,
    Extension(tasks): Extension<Arc<Tasks>>,
    request: axum::extract::Request,
) -> Result<Json<()>, ApiError> {
    let new: NewOptions = intake::read(&app, request, FORM).await?.value;
    let Some(name) = new.sd_model_checkpoint else {
        return Ok(Json(()));
    };
    let names = app.model_names().await?;
    if !names.contains(&name) {
        let has = names.join(", ");
        let message = format!("sd_model_checkpoint: the server has no model {name}; it has {has}");
        return Err(Failure {
            code: Code::ModelNotFound,
            ..Failure::param("sd_model_checkpoint", message)
        }
        .into());
    }
    tasks.choose(name);
    Ok(Json(()))
}
