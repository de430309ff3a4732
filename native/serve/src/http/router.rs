//! All routes under their paths, and what stands before them.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};
use metrics::{counter, gauge, histogram};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::error::ApiError;
use super::{guard, jobs, operations, uploads};

/// The name and the tags of the description.
#[derive(OpenApi)]
#[openapi(info(
    title = "x2i",
    description = "Anything you can show, say or write becomes a picture."
))]
struct Description;

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let (router, description) = described().split_for_parts();
    let description = Arc::new(description);
    let mut router = router
        .route(
            "/openapi.json",
            axum::routing::get(move || async move { axum::Json(description.as_ref().clone()) }),
        )
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(app.limits.body))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard));
    if let Some(cors) = app.access.cors() {
        router = router.layer(cors);
    }
    let id = HeaderName::from_static("x-request-id");
    router
        .layer(middleware::from_fn_with_state(app.clone(), measured))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(PropagateRequestIdLayer::new(id.clone()))
        .layer(SetRequestIdLayer::new(id, MakeRequestUuid))
        .layer(SetSensitiveRequestHeadersLayer::new([
            header::AUTHORIZATION,
            header::COOKIE,
        ]))
        .with_state(app)
}

/// The routes that the description has.
fn described() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(jobs::create, jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::events::events))
        .routes(routes!(jobs::output))
        .routes(routes!(uploads::create))
        .routes(routes!(operations::health))
        .routes(routes!(operations::ready))
        .routes(routes!(operations::metrics))
}

async fn missing(request: Request) -> ApiError {
    ApiError::not_found(format_args!(
        "route {} {}",
        request.method(),
        request.uri().path()
    ))
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!("{} is not for {}", request.uri().path(), request.method());
    ApiError::new(
        http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}

fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let failure = crate::job::Failure::new(
        crate::job::Code::Internal,
        "the server has a bug: the route panicked",
    );
    ApiError::from(failure).into_response()
}

/// Counts requests, and how long they take until their answer begins.
async fn measured(
    State(_): State<Arc<App>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let route = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().as_str().to_owned();
    let _in_flight = InFlight::begin();
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    histogram!("http_request_duration_seconds", "route" => route.clone()).record(begun.elapsed());
    counter!("http_requests_total", "method" => method, "route" => route, "status" => status)
        .increment(1);
    response
}

/// A request that is not answered yet; callers that go away end it too.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        gauge!("http_requests_in_flight").increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!("http_requests_in_flight").decrement(1.0);
    }
}
