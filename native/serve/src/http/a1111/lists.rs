//! What the server has, as lists of the web UI's: models, LoRAs, one sampler, one schedule, and none of the rest.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use x2i_engine::host;

use crate::http::app::App;
use crate::http::error::ApiError;

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Model)]
pub struct ModelItem {
    /// Its name, as `sd_model_checkpoint` takes it.
    title: String,
    /// The same.
    model_name: String,
    hash: Option<String>,
    sha256: Option<String>,
    /// The name again: clients never see paths.
    filename: String,
    config: Option<String>,
}

/// A sampler.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Sampler)]
pub struct SamplerItem {
    /// Its name.
    name: &'static str,
    /// Other names.
    aliases: Vec<&'static str>,
    #[schema(value_type = Object)]
    options: Value,
}

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Scheduler)]
pub struct SchedulerItem {
    /// Its name.
    name: &'static str,
    /// Its name for people.
    label: &'static str,
    /// Other names.
    aliases: Vec<&'static str>,
    default_rho: f64,
    need_inner_model: bool,
}

/// An upscaler.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Upscaler)]
pub struct UpscalerItem {
    /// Its name.
    name: &'static str,
    model_name: Option<String>,
    model_path: Option<String>,
    model_url: Option<String>,
    scale: f64,
}

/// A LoRA.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Lora)]
pub struct LoraItem {
    /// Its name, as `<lora:NAME:SCALE>` takes it.
    name: String,
    /// The same.
    alias: String,
    /// The name again: clients never see paths.
    path: String,
    #[schema(value_type = Object)]
    metadata: Value,
}

/// A thing that there is none of.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Nothing)]
pub struct Nothing {
    /// Its name.
    name: String,
}

/// Memory in bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Memory)]
pub struct Memory {
    /// That of the host.
    ram: Ram,
    /// Why there is nothing of CUDA's allocator.
    cuda: NoCuda,
}

/// The host's memory in bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Ram)]
struct Ram {
    /// Bytes that are free.
    free: u64,
    /// Bytes that are used.
    used: u64,
    /// All.
    total: u64,
}

/// Why there is nothing of CUDA's allocator.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Cuda)]
struct NoCuda {
    /// The reason.
    error: &'static str,
}

/// The models.
#[utoipa::path(get, path = "/sdapi/v1/sd-models", tag = "a1111", responses((status = 200, body = Vec<ModelItem>), (status = 503, description = "the queue can't be reached")))]
pub async fn models(State(app): State<Arc<App>>) -> Result<Json<Vec<ModelItem>>, ApiError> {
    let names = app.model_names().await?.into_iter();
    let items = names.map(|name| ModelItem {
        title: name.clone(),
        model_name: name.clone(),
        hash: None,
        sha256: None,
        filename: name,
        config: None,
    });
    Ok(Json(items.collect()))
}

/// The sampler.
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "a1111", responses((status = 200, body = Vec<SamplerItem>)))]
pub async fn samplers() -> Json<Vec<SamplerItem>> {
    Json(vec![SamplerItem {
        name: "Euler",
        aliases: vec!["euler", "k_euler"],
        options: json!({}),
    }])
}

/// The schedule.
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "a1111", responses((status = 200, body = Vec<SchedulerItem>)))]
pub async fn schedulers() -> Json<Vec<SchedulerItem>> {
    Json(vec![SchedulerItem {
        name: "simple",
        label: "Simple",
        aliases: vec![],
        default_rho: -1.0,
        need_inner_model: false,
    }])
}

/// No upscaler, which is one of the web UI's.
#[utoipa::path(get, path = "/sdapi/v1/upscalers", tag = "a1111", responses((status = 200, body = Vec<UpscalerItem>)))]
pub async fn upscalers() -> Json<Vec<UpscalerItem>> {
    Json(vec![UpscalerItem {
        name: "None",
        model_name: None,
        model_path: None,
        model_url: None,
        scale: 4.0,
    }])
}

/// None.
#[utoipa::path(get, path = "/sdapi/v1/latent-upscale-modes", tag = "a1111", responses((status = 200, body = Vec<Nothing>)))]
pub async fn latent_upscale_modes() -> Json<Vec<Nothing>> {
    Json(vec![])
}

/// None: a model's VAE belongs to it.
#[utoipa::path(get, path = "/sdapi/v1/sd-vae", tag = "a1111", responses((status = 200, body = Vec<Nothing>)))]
pub async fn vaes() -> Json<Vec<Nothing>> {
    Json(vec![])
}

/// The LoRAs.
#[utoipa::path(get, path = "/sdapi/v1/loras", tag = "a1111", responses((status = 200, body = Vec<LoraItem>)))]
pub async fn loras(State(app): State<Arc<App>>) -> Json<Vec<LoraItem>> {
    let items = app.models.loras().map(|name| LoraItem {
        name: name.to_owned(),
        alias: name.to_owned(),
        path: name.to_owned(),
        metadata: json!({}),
    });
    Json(items.collect())
}

/// The host's memory.
#[utoipa::path(get, path = "/sdapi/v1/memory", tag = "a1111", responses((status = 200, body = Memory)))]
pub async fn memory() -> Json<Memory> {
    let (total, free) = host::memory().map_or((0, 0), |memory| (memory.total, memory.available));
    Json(Memory {
        ram: Ram {
            free,
            used: total.saturating_sub(free),
            total,
        },
        cuda: NoCuda {
            error: "x2i has its devices' memory in /metrics",
        },
    })
}

/// Nothing to do: models are those that the server was started with.
#[utoipa::path(post, path = "/sdapi/v1/refresh-checkpoints", tag = "a1111", responses((status = 200, description = "`null`")))]
pub async fn refresh() -> Json<()> {
    Json(())
}

/// The server's flags, of which clients know none.
#[utoipa::path(get, path = "/sdapi/v1/cmd-flags", tag = "a1111", responses((status = 200, body = Object)))]
pub async fn flags() -> Json<Value> {
    Json(json!({ "api": true }))
}

/// What clients ask for at their start, and the server has none of. The description leaves it out.
pub fn empty() -> Router<Arc<App>> {
    let none = || async { Json(json!([])) };
    Router::new()
        .route(
            "/sdapi/v1/scripts",
            get(async || Json(json!({ "txt2img": [], "img2img": [] }))),
        )
        .route(
            "/sdapi/v1/embeddings",
            get(async || Json(json!({ "loaded": {}, "skipped": {} }))),
        )
        .route("/sdapi/v1/script-info", get(none))
        .route("/sdapi/v1/prompt-styles", get(none))
        .route("/sdapi/v1/hypernetworks", get(none))
        .route("/sdapi/v1/face-restorers", get(none))
        .route("/sdapi/v1/realesrgan-models", get(none))
        .route("/sdapi/v1/extensions", get(none))
        .route("/sdapi/v1/refresh-loras", post(refresh))
        .route("/sdapi/v1/refresh-vae", post(refresh))
}
