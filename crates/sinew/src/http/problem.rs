//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::kernel::error::{Error, ErrorKind};

/// An error as an HTTP reply: a status, and one sentence that says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    /// A problem of this status. `detail` is read by whoever sent the request: no secret, no
    /// value, nothing internal.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }

    /// A request that cannot be accepted as it is: 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The status of the reply.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Rejected => StatusCode::BAD_REQUEST,
            ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Unavailable { .. } | ErrorKind::Timeout { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ErrorKind::Corrupt | ErrorKind::Denied | ErrorKind::Misconfigured => {
                StatusCode::BAD_GATEWAY
            }
        };
        let detail = match error.kind() {
            ErrorKind::Rejected | ErrorKind::Conflict => error.to_string(),
            // The rest names hosts, and is for the log.
            _ => {
                let told = format!("{error:#}");
                match error.is_retryable() {
                    // A line a request would drown the one that says that Redis went away.
                    true => tracing::debug!(error = told, "a request failed"),
                    false => tracing::warn!(error = told, "a request failed"),
                }
                "the store cannot serve this now".to_owned()
            }
        };
        Self::new(status, detail)
    }
}

/// What axum's extractors reject, as a problem. A body of the wrong shape is a bad request like any other.
macro_rules! problem_of_rejection {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Self {
                let status = match rejection.status() {
                    StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                    status => status,
                };
                let detail = match status {
                    StatusCode::PAYLOAD_TOO_LARGE => "the body is too large".to_owned(),
                    _ => rejection.body_text(),
                };
                Self::new(status, detail)
            }
        }
    )*};
}
problem_of_rejection!(BytesRejection, JsonRejection, PathRejection, QueryRejection);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        }));
        let mut response = (self.status, body).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, problem);
        response
    }
}
