//! Errors as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::kernel::error::{Error, ErrorKind};

const NO_JSON: &str =
    "expected the header Content-Type: application/json, or another that ends in +json";

/// An error as an HTTP reply: a status, and one sentence that says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    uri: &'static str,
    status: StatusCode,
    detail: String,
    members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// A problem of this status. `detail` is read by whoever sent the request: no secret, no
    /// value, nothing internal.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { uri: "about:blank", status, detail: detail.into(), members: Vec::new() }
    }

    /// A request that cannot be accepted as it is: 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// Says in which part of the input it is.
    #[must_use]
    pub fn within(mut self, part: &str) -> Self {
        self.detail = format!("{part}: {}", self.detail);
        self
    }

    /// Says by a URI which type of problem it is: `about:blank` unless said, for what the status says
    /// already.
    #[must_use]
    pub fn with_type(mut self, uri: &'static str) -> Self {
        self.uri = uri;
        self
    }

    /// Adds a member that problems of its type have. The members that all problems have stay as they
    /// are.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
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
                    StatusCode::UNSUPPORTED_MEDIA_TYPE => NO_JSON.to_owned(),
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
        let title = self.status.canonical_reason().unwrap_or("Error");
        let in_all = [
            ("type", Value::from(self.uri)),
            ("title", Value::from(title)),
            ("status", Value::from(self.status.as_u16())),
            ("detail", Value::from(self.detail)),
        ];
        // The last one of a name stays.
        let members = self.members.into_iter().chain(in_all);
        let body: Map<String, Value> =
            members.map(|(name, value)| (name.to_owned(), value)).collect();
        let mut response = (self.status, Json(body)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, problem);
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::FromRequest as _;
    use axum::http::Request;
    use serde_json::json;

    use super::*;

    async fn body(problem: Problem) -> Value {
        let response = problem.into_response();
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        serde_json::from_slice(&to_bytes(response.into_body(), 1_024).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_problem_has_its_members_and_those_of_its_type() {
        let plain = Problem::bad_request("expected more");
        let expected = json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "expected more",
        });
        assert_eq!(body(plain.clone()).await, expected);
        let typed = plain.with_type("urn:example").with_member("names", vec!["a", "b"]);
        let typed = typed.with_member("status", 200).with_member("detail", "none");
        let expected = json!({
            "type": "urn:example", "title": "Bad Request", "status": 400, "detail": "expected more",
            "names": ["a", "b"],
        });
        assert_eq!(body(typed).await, expected);
    }

    #[tokio::test]
    async fn who_sends_no_json_is_told_which_header_was_expected() {
        for kind in [None, Some("text/plain")] {
            let request = Request::post("/");
            let request = kind.into_iter().fold(request, |r, kind| r.header(CONTENT_TYPE, kind));
            let request = request.body(Body::from("{}")).unwrap();
            let rejection = Json::<Value>::from_request(request, &()).await.unwrap_err();
            let told = body(rejection.into()).await;
            assert_eq!(told["status"], 415, "{kind:?}");
            assert_eq!(told["detail"], NO_JSON, "{kind:?}");
        }
    }
}
