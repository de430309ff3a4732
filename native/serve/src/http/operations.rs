//! What programs that run servers ask: health, readiness, metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::error::ApiError;
use crate::queue::{Load, Worker};

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
    /// The program's version.
    pub version: &'static str,
}

/// Whether the server takes jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// True when it does.
    pub ready: bool,
    /// Why not.
    pub reason: Option<&'static str>,
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// The most that may wait.
    pub limit: usize,
    /// Devices that work.
    pub devices: usize,
    /// The devices.
    #[schema(value_type = Vec<Object>)]
    pub workers: Vec<Worker>,
}

/// The process answers. It asks no device and no queue.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = Health)))]
pub async fn health() -> Json<Health> {
    Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// The server takes jobs: it does not stop, and a device works.
#[utoipa::path(get, path = "/ready", tag = "operations", responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    let asked = (app.queue.load().await, app.queue.workers().await);
    let away = asked.0.is_err() || asked.1.is_err();
    let (load, workers) = (asked.0.unwrap_or_default(), asked.1.unwrap_or_default());
    let reason = if app.is_stopping() {
        Some("the server stops")
    } else if away {
        Some("the queue can't be reached")
    } else if load.devices == 0 {
        Some("no device works (yet)")
    } else {
        None
    };
    let status = if reason.is_none() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let Load {
        waiting,
        running,
        limit,
        devices,
        ..
    } = load;
    (
        status,
        Json(Ready {
            ready: reason.is_none(),
            reason,
            waiting,
            running,
            limit,
            devices,
            workers,
        }),
    )
        .into_response()
}

/// What is measured, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    if let Ok(load) = app.queue.load().await {
        crate::measure::queue(&load);
    }
    let handle = app
        .metrics
        .as_ref()
        .ok_or_else(|| ApiError::not_found("metrics"))?;
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((kind, handle.render()).into_response())
}
