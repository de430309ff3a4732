//! All routes under their paths, and what stands before them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http::{HeaderName, Method, header};
use metrics::{counter, gauge, histogram};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::Instrument;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::described::{limit, secure};
use super::error::ApiError;
use super::openai::{images, models};
use super::{a1111, chat, conditioning, guard, jobs, operations, pages, uploads};

/// The name and the tags of the description.
#[derive(OpenApi)]
#[openapi(info(
    title = "x2i",
    description = "Anything you can show, say or write becomes a picture."
))]
struct Description;

/// How long nothing of a body may come.
const BODY_SILENCE: Duration = Duration::from_secs(60);

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let (router, mut description) = described().split_for_parts();
    limit(&mut description, &app.limits);
    secure(&mut description, &app.access);
    let description = Arc::new(description);
    let mut router = router
        .route(
            "/openapi.json",
            axum::routing::get(move || async move { axum::Json(description.as_ref().clone()) }),
        )
        .merge(a1111::lists::empty())
        .merge(pages::routes())
        .layer(Extension(Arc::new(a1111::Tasks::default())))
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(app.limits.body))
        .layer(RequestBodyTimeoutLayer::new(BODY_SILENCE))
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
        .routes(routes!(images::generations))
        .routes(routes!(images::edits))
        .routes(routes!(chat::create))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(conditioning::create))
        .routes(routes!(jobs::create, jobs::list))
        .routes(routes!(jobs::get))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::events::events))
        .routes(routes!(jobs::output))
        .routes(routes!(uploads::create))
        .routes(routes!(a1111::images::txt2img))
        .routes(routes!(a1111::images::img2img))
        .routes(routes!(a1111::options::get, a1111::options::set))
        .routes(routes!(a1111::progress::progress))
        .routes(routes!(a1111::progress::interrupt))
        .routes(routes!(a1111::progress::skip))
        .routes(routes!(a1111::metadata::png_info))
        .routes(routes!(a1111::lists::models))
        .routes(routes!(a1111::lists::samplers))
        .routes(routes!(a1111::lists::schedulers))
        .routes(routes!(a1111::lists::upscalers))
        .routes(routes!(a1111::lists::latent_upscale_modes))
        .routes(routes!(a1111::lists::vaes))
        .routes(routes!(a1111::lists::loras))
        .routes(routes!(a1111::lists::memory))
        .routes(routes!(a1111::lists::refresh))
        .routes(routes!(a1111::lists::flags))
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
    // A client may make any name of a method up, and each would be kept.
    let known = [
        Method::GET,
        Method::POST,
        Method::HEAD,
        Method::OPTIONS,
        Method::DELETE,
        Method::PUT,
        Method::PATCH,
    ];
    let method = known.iter().find(|known| *known == request.method());
    let method = method.map_or("other", Method::as_str).to_owned();
    let _in_flight = InFlight::begin();
    let span = tracing::info_span!("request", method, route);
    let response = next.run(request).instrument(span).await;
    let status = response.status().as_str().to_owned();
    tracing::debug!(method, route, status, took = ?begun.elapsed(), "answered");
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
