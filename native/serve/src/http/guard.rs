//! What stands before every route: the host's name, the page's origin, the key.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};

use super::access::is_foreign_page;
use super::app::App;
use super::error::ApiError;

/// Paths that need no key: programs that watch a server have none.
pub(super) const OPEN: [&str; 2] = ["/health", "/ready"];

/// Refuses requests that may not be made.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !app.access.allows_host(headers) {
        // A page of a stranger whose name leads here (DNS rebinding).
        let message = "this name of the server is not allowed; start it with --allowed-host";
        return ApiError::new(StatusCode::FORBIDDEN, "host_not_allowed", message).into_response();
    }
    if is_foreign_page(&app.access, request.method(), headers) {
        let message = "a page of another origin may not ask; start the server with --cors-origin";
        return ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", message).into_response();
    }
    let is_open = OPEN.contains(&request.uri().path()) || request.method() == Method::OPTIONS;
    if !is_open && !app.access.allows_key(headers) {
        let message = "the API key is missing or wrong; send Authorization: Bearer KEY";
        return ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message).into_response();
    }
    next.run(request).await
}
