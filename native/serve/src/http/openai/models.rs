//! `/v1/models`: the models that the server has.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::job::{Code, Failure};

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub struct ModelView {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// When the server began to have it, in seconds since 1970.
    pub created: u64,
    /// `x2i`.
    pub owned_by: &'static str,
}

/// Models; the first is the default.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ModelList)]
pub struct ModelsView {
    /// `list`.
    pub object: &'static str,
    /// The models.
    pub data: Vec<ModelView>,
}

/// The models; the first is the default.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, body = ModelsView), (status = 503, description = "the queue can't be reached")))]
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<ModelsView>, ApiError> {
    let names = app.model_names().await?;
    Ok(Json(ModelsView {
        object: "list",
        data: names.into_iter().map(view).collect(),
    }))
}

/// A model.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai", params(("id" = String, Path, description = "the model's name")), responses((status = 200, body = ModelView), (status = 404, description = "no such model"), (status = 503, description = "the queue can't be reached")))]
pub async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ModelView>, ApiError> {
    let names = app.model_names().await?;
    match names.contains(&id) {
        true => Ok(Json(view(id))),
        false => Err(Failure {
            code: Code::ModelNotFound,
            ..Failure::param(
                "model",
                format!("the server has no model {id}; it has {}", names.join(", ")),
            )
        }
        .into()),
    }
}

fn view(id: String) -> ModelView {
    static BEGUN: OnceLock<u64> = OnceLock::new();
    ModelView {
        id,
        object: "model",
        created: *BEGUN.get_or_init(|| crate::job::now() / 1000),
        owned_by: "x2i",
    }
}
