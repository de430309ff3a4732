//! The port of a worker: health, readiness and metrics, for Kubernetes and Prometheus. It takes no jobs.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;

use crate::measure;
use crate::nats::connection::Session;
use crate::nats::desk::NatsDesk;

#[derive(Clone)]
struct Watched {
    desk: Arc<NatsDesk>,
    session: Session,
    metrics: Option<PrometheusHandle>,
}

/// Serves until the process ends.
pub(super) async fn serve(
    listener: TcpListener,
    desk: Arc<NatsDesk>,
    session: Session,
    metrics: Option<PrometheusHandle>,
) {
    let router = Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
        .with_state(Watched {
            desk,
            session,
            metrics,
        });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the worker's port is closed");
    }
}

async fn health() -> Response {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// Whether a device takes jobs now.
async fn ready(State(watched): State<Watched>) -> Response {
    let workers = watched.desk.workers();
    let reason = if watched.desk.is_stopped() {
        Some("the worker stops")
    } else if !watched.session.is_connected() {
        Some("NATS is away")
    } else if !workers.iter().any(|worker| worker.up) {
        Some("no device works (yet)")
    } else {
        None
    };
    let status = match reason {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let running = watched.desk.running();
    let body = json!({ "ready": reason.is_none(), "reason": reason, "running": running, "workers": workers });
    (status, Json(body)).into_response()
}

async fn render(State(watched): State<Watched>) -> Response {
    gauge!("x2i_jobs_running").set(watched.desk.running() as f64);
    measure::nats(watched.session.is_connected());
    match watched.metrics {
        Some(metrics) => {
            let kind = [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )];
            (kind, metrics.render()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
