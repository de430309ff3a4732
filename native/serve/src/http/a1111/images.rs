//! `txt2img` and `img2img`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::body::Settings;
use super::info::Infotext;
use super::progress::timestamp;
use super::schema::ImageSettings;
use super::tasks::Tasks;
use crate::http::app::{App, succeeded};
use crate::http::error::ApiError;
use crate::http::intake::{self, Form};
use crate::http::keep::{KeepHeader, keep};
use crate::http::live::Live;
use crate::job::{Code, Event, Failure, JobState, Order, PartOrder, Status};

const FORM: Form = Form {
    texts: &[],
    files: &[],
};

/// Painted images.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Images)]
pub struct Painted {
    /// The images as base64.
    images: Vec<String>,
    /// The request.
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    /// JSON as a text: seeds, the settings of each image (`infotexts`), `warnings`.
    info: String,
}

/// Paints images from a prompt. An interrupted job answers with the images that were finished.
#[utoipa::path(
    post, path = "/sdapi/v1/txt2img", tag = "a1111", request_body = Settings,
    params(KeepHeader),
    responses((status = 200, body = Painted), (status = "4XX", description = "refused"), (status = "5XX", description = "a device failed, the server stops, or it took too long"))
)]
pub async fn txt2img(
    State(app): State<Arc<App>>,
    Extension(tasks): Extension<Arc<Tasks>>,
    request: Request<Body>,
) -> Result<Json<Painted>, ApiError> {
    paint(&app, &tasks, request, false).await
}

/// Paints images that begin with `init_images`.
#[utoipa::path(
    post, path = "/sdapi/v1/img2img", tag = "a1111", request_body = ImageSettings,
    params(KeepHeader),
    responses((status = 200, body = Painted), (status = "4XX", description = "refused"), (status = "5XX", description = "a device failed, the server stops, or it took too long"))
)]
pub async fn img2img(
    State(app): State<Arc<App>>,
    Extension(tasks): Extension<Arc<Tasks>>,
    request: Request<Body>,
) -> Result<Json<Painted>, ApiError> {
    paint(&app, &tasks, request, true).await
}

async fn paint(
    app: &Arc<App>,
    tasks: &Arc<Tasks>,
    request: Request<Body>,
    has_init: bool,
) -> Result<Json<Painted>, ApiError> {
    let keep = keep(request.headers())?;
    let intake = intake::read::<Settings>(app, request, FORM).await?;
    let mut settings = intake.value;
    let mut warnings = settings.warnings();
    let order = settings.order(app, tasks, has_init).await?;
    let asked = order.clone();
    let painting = wait(app, tasks, order, keep, settings.force_task_id.clone());
    let state = match tokio::time::timeout(app.limits.wait, painting).await {
        Ok(state) => state?,
        Err(_) => return Err(Failure::new(Code::Expired, "the images took too long").into()),
    };
    let state = match state.status {
        Status::Canceled => state, // interrupted: what is finished is the answer
        _ => succeeded(state)?,
    };
    let mut images = vec![];
    if settings.send_images != Some(false) {
        for output in &state.outputs {
            images.push(STANDARD.encode(app.output(state.id, output.index).await?));
        }
    }
    warnings.extend(state.warnings.iter().cloned());
    let info = info(&asked, &state, &warnings).to_string();
    Ok(Json(Painted {
        images,
        parameters: intake.small,
        info,
    }))
}

/// Does a job; `progress` shows it meanwhile.
async fn wait(
    app: &Arc<App>,
    tasks: &Arc<Tasks>,
    order: Order,
    keep: bool,
    name: Option<String>,
) -> Result<JobState, ApiError> {
    let mut live = Live::begin(app, order, keep).await?;
    let task = tasks.enter(name, live.state().id);
    while let Some(event) = live.next().await? {
        if let Event::Preview(preview) = event {
            task.show(preview.png);
        }
    }
    Ok(live.state().clone())
}

/// What the web UI tells of its images.
fn info(order: &Order, state: &JobState, warnings: &[String]) -> Value {
    let told = infotext(order, state);
    let seeds: Vec<u64> = state
        .outputs
        .iter()
        .filter_map(|output| output.seed)
        .collect();
    let infotexts = seeds.iter().map(|seed| {
        let seed = *seed;
        Infotext {
            seed,
            ..told.clone()
        }
        .text()
    });
    let infotexts: Vec<_> = infotexts.collect();
    json!({
        "prompt": told.prompt,
        "all_prompts": vec![&told.prompt; seeds.len()],
        "negative_prompt": "",
        "all_negative_prompts": vec![""; seeds.len()],
        "seed": seeds.first(),
        "all_seeds": seeds,
        "subseed": seeds.first(),
        "all_subseeds": seeds,
        "subseed_strength": 0,
        "width": told.size.0,
        "height": told.size.1,
        "sampler_name": "Euler",
        "cfg_scale": 1.0,
        "steps": told.steps,
        "batch_size": seeds.len(),
        "restore_faces": false,
        "face_restoration_model": null,
        "sd_model_name": state.model,
        "sd_model_hash": null,
        "sd_vae_name": null,
        "sd_vae_hash": null,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": told.strength,
        "extra_generation_params": {},
        "index_of_first_image": 0,
        "infotexts": infotexts,
        "styles": [],
        "job_timestamp": timestamp(state.created_at),
        "clip_skip": 1,
        "is_using_inpainting_conditioning": false,
        "version": concat!("x2i ", env!("CARGO_PKG_VERSION")),
        "interrupted": state.status == Status::Canceled,
        "warnings": warnings,
        "answer": state.answer,
        "job": state.id,
    })
}

/// The settings of a job's images, but for the seeds.
fn infotext(order: &Order, state: &JobState) -> Infotext {
    let prompt = match order.parts.last() {
        Some(PartOrder::Text(text)) => text.clone(),
        _ => String::new(),
    };
    let first = state.outputs.first();
    let size = first.map(|output| (output.width.unwrap_or(0), output.height.unwrap_or(0)));
    let painted = state.progress.as_ref().map(|progress| progress.steps);
    Infotext {
        prompt,
        steps: order.numbers.steps.or(painted).unwrap_or(0),
        guidance: order.numbers.guidance,
        seed: 0,
        size: size.unwrap_or_default(),
        model: state.model.clone(),
        strength: order.init.as_ref().and_then(|init| init.strength),
    }
}
