//! What pages have in common: templates as replies, numbers as text.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

pub(super) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "fault.html")]
struct Fault {
    message: String,
}

/// What is wrong, in place of a part of a page. With 200: the page shows nothing else.
pub(super) fn fault(message: String) -> Response {
    render(&Fault { message })
}

pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss)]
    let ratio = part as f64 / whole as f64;
    (whole > 0).then_some(ratio)
}

pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}
