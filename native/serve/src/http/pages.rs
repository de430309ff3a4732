//! Pages: `/` paints, `/docs` shows the description. Their files are in the program; they load nothing from elsewhere.
//!
//! The page at `/` is that of the demo (`www/demo`), which asks this server instead of WebAssembly. A program that was
//! built without it (`scripts/build-page`) says so there.

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header;

use super::app::App;

/// Scripts and styles of this server alone; images that it has painted.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' blob: data:; \
    img-src 'self' data: blob:; media-src 'self' blob: mediastream:; manifest-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";
/// The files of the page at `/`, by their paths.
const PAGE: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));
/// The page among them.
const INDEX: &str = "index.html";

/// The routes of the pages.
pub(super) fn routes() -> Router<Arc<App>> {
    let mut router = Router::new();
    let docs: [(&str, &[u8]); 3] = [
        ("docs.html", include_bytes!("pages/docs.html")),
        ("docs/docs.css", include_bytes!("pages/docs.css")),
        ("docs/docs.js", include_bytes!("pages/docs.js")),
    ];
    for (name, bytes) in docs {
        router = add(
            router,
            &format!("/{}", name.trim_end_matches(".html")),
            name,
            bytes,
        );
    }
    for (name, bytes) in PAGE {
        let path = if *name == INDEX { "" } else { name };
        router = add(router, &format!("/{path}"), name, bytes);
    }
    match PAGE.iter().any(|(name, _)| *name == INDEX) {
        true => router,
        false => add(router, "/", INDEX, include_bytes!("pages/none.html")),
    }
}

fn add(
    router: Router<Arc<App>>,
    path: &str,
    name: &'static str,
    bytes: &'static [u8],
) -> Router<Arc<App>> {
    router.route(path, get(move || async move { file(name, bytes) }))
}

fn file(name: &str, bytes: &'static [u8]) -> Response {
    // Built files have the hash of their contents in their names.
    let caching = match name.starts_with("assets/") {
        true => "max-age=31536000, immutable",
        false => "no-cache",
    };
    let headers = [
        (header::CONTENT_TYPE, media_type(name)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, caching),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, bytes).into_response()
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "webmanifest" => "application/manifest+json",
        "json" => "application/json",
        _ => "application/octet-stream",
    }
}
