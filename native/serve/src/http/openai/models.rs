//! `/v1/models`: the models that the server has.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use x2i_core::Conditioning;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extras::ConditioningName;
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
    /// What OpenAI has no names for; nothing on a gateway, whose workers have the models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x2i: Option<ModelFacts>,
}

/// What a model reads, and its defaults.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelFacts {
    /// `text`, `image`, `video`, `audio`.
    pub modalities: Vec<String>,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Steps.
    pub steps: usize,
    /// Guidance.
    pub guidance: f32,
    /// `prompt` or `answer`.
    #[schema(value_type = ConditioningName)]
    pub conditioning: Conditioning,
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
        data: names.into_iter().map(|name| view(&app, name)).collect(),
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
        true => Ok(Json(view(&app, id))),
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

fn view(app: &App, id: String) -> ModelView {
    static BEGUN: OnceLock<u64> = OnceLock::new();
    let served = app.models.get(Some(&id)).ok();
    let facts = served.map(|(_, served)| {
        let defaults = &served.model.config().defaults;
        ModelFacts {
            modalities: defaults.modalities.clone(),
            width: defaults.width,
            height: defaults.height,
            steps: defaults.steps,
            guidance: defaults.guidance,
            conditioning: defaults.conditioning,
        }
    });
    ModelView {
        x2i: facts,
        id,
        object: "model",
        created: *BEGUN.get_or_init(|| crate::job::now() / 1000),
        owned_by: "x2i",
    }
}
