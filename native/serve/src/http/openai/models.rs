//! `/v1/models`: the models that the server has.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::job::{Code, Failure};
use crate::models::ModelFacts;

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
    /// What OpenAI has no names for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x2i: Option<ModelFacts>,
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
    let models = app.model_facts().await?;
    let views = models.into_iter().map(|(name, facts)| view(name, facts));
    Ok(Json(ModelsView {
        object: "list",
        data: views.collect(),
    }))
}

/// A model.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai", params(("id" = String, Path, description = "the model's name")), responses((status = 200, body = ModelView), (status = 404, description = "no such model"), (status = 503, description = "the queue can't be reached")))]
pub async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<ModelView>, ApiError> {
    let mut models = app.model_facts().await?;
    let names: Vec<_> = models.iter().map(|(name, _)| name.clone()).collect();
    match names.iter().position(|name| *name == id) {
        Some(at) => Ok(Json(view(id, models.swap_remove(at).1))),
        None => Err(Failure {
            code: Code::ModelNotFound,
            ..Failure::param(
                "model",
                format!("the server has no model {id}; it has {}", names.join(", ")),
            )
        }
        .into()),
    }
}

fn view(id: String, facts: Option<ModelFacts>) -> ModelView {
    static BEGUN: OnceLock<u64> = OnceLock::new();
    ModelView {
        x2i: facts,
        id,
        object: "model",
        created: *BEGUN.get_or_init(|| crate::job::now() / 1000),
        owned_by: "x2i",
    }
}
