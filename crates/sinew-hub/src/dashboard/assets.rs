//! Scripts, styles and pictures, from inside the binary.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;
use sinew::http::Problem;

#[derive(RustEmbed)]
#[folder = "assets"]
struct Assets;

pub(super) async fn asset(Path(path): Path<String>) -> Response {
    let Some(file) = Assets::get(&path) else {
        return Problem::new(StatusCode::NOT_FOUND, "no such asset").into_response();
    };
    let kind = match path.rsplit('.').next() {
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("svg") => "image/svg+xml",
        _ => "text/plain",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        // A new binary may bring new files under the same names.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, file.data).into_response()
}
