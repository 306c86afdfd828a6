//! Requests and replies as OFREP has them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use sinew::flag::{EvalError, Evaluation, Reason};
use sinew::http::Problem;
use utoipa::ToSchema;

/// Who the flags are evaluated for.
#[derive(Serialize, ToSchema)]
pub(super) struct OfrepRequest {
    /// `targetingKey`, and what else is known of the user
    #[schema(value_type = Object, example = json!({"targetingKey": "ada", "plan": "pro"}))]
    context: Map<String, Value>,
}

/// A flag as someone sees it.
#[derive(Serialize, ToSchema)]
pub(super) struct OfrepSuccess {
    key: String,
    /// Not there where the code's own default is to be used
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[schema(value_type = String, example = "TARGETING_MATCH")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

impl OfrepSuccess {
    pub(super) fn new(key: &str, evaluation: Evaluation<Option<Value>>) -> Self {
        Self {
            key: key.to_owned(),
            reason: reason(evaluation.reason),
            variant: evaluation.variant.as_deref().map(str::to_owned),
            value: evaluation.value,
        }
    }
}

/// OFREP knows these alone.
fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Static | Reason::TargetingMatch | Reason::Split | Reason::Disabled => reason.name(),
        _ => "UNKNOWN",
    }
}

/// Why there is no answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfrepFailure {
    /// Not there where it is about no single flag
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// `PARSE_ERROR`, `TARGETING_KEY_MISSING`, `INVALID_CONTEXT`, `GENERAL` or `FLAG_NOT_FOUND`
    #[schema(value_type = String, example = "FLAG_NOT_FOUND")]
    error_code: &'static str,
    error_details: String,
}

impl OfrepFailure {
    pub(super) fn new(key: Option<&str>, error: &EvalError) -> Self {
        Self {
            key: key.map(str::to_owned),
            error_code: error.code(),
            error_details: error.to_string(),
        }
    }

    /// What cannot be said by any other code.
    pub(super) fn general(key: Option<&str>, details: impl Into<String>) -> Self {
        Self::new(key, &EvalError::General(details.into()))
    }

    pub(super) fn with(self, status: StatusCode) -> Refusal {
        Refusal::Ofrep(status, self)
    }
}

/// Why a request was refused.
pub(super) enum Refusal {
    Ofrep(StatusCode, OfrepFailure),
    /// As any route of a hub would refuse it.
    Hub(Problem),
}

impl Refusal {
    /// Clients know by the members of OFREP that a hub has refused, and tell them; without, they fail.
    pub(super) fn of(key: Option<&str>, problem: Problem) -> Self {
        let problem = problem.with_member("errorCode", EvalError::General(String::new()).code());
        Self::Hub(match key {
            Some(key) => problem.with_member("key", key),
            None => problem,
        })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Ofrep(status, failure) => (status, Json(failure)).into_response(),
            Self::Hub(problem) => problem.into_response(),
        }
    }
}

/// Many flags as someone sees them.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfrepBulk {
    pub(super) flags: Vec<OfrepResult>,
    /// Where changes are told
    pub(super) event_streams: Vec<OfrepStream>,
}

/// A flag, or why there is no answer.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum OfrepResult {
    Success(OfrepSuccess),
    Failure(OfrepFailure),
}

/// Where changes are told.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfrepStream {
    #[schema(value_type = String, example = "sse")]
    r#type: &'static str,
    endpoint: OfrepEndpoint,
    /// Of a client that no one looks at: then it may hang up
    inactivity_delay_sec: u32,
}

/// An address at the server that was asked.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfrepEndpoint {
    request_uri: String,
}

impl OfrepStream {
    /// A hub does not know by which name it is reached: the client does.
    pub(super) fn at(request_uri: String) -> Self {
        Self { r#type: "sse", endpoint: OfrepEndpoint { request_uri }, inactivity_delay_sec: 120 }
    }
}

/// That flags have changed: they are to be asked for again.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfrepEvent {
    #[schema(value_type = String, example = "refetchEvaluation")]
    r#type: &'static str,
    /// Of the flags, to be sent along as `flagConfigEtag`
    etag: String,
    /// Unix seconds
    last_modified: i64,
}

impl OfrepEvent {
    pub(super) fn refetch(etag: String, last_modified: i64) -> Self {
        Self { r#type: "refetchEvaluation", etag, last_modified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_clients_do_not_know_is_unknown() {
        let known = [Reason::Static, Reason::TargetingMatch, Reason::Split, Reason::Disabled];
        assert_eq!(known.map(reason), ["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED"]);
        for other in [Reason::Stale, Reason::Default, Reason::Error] {
            assert_eq!(reason(other), "UNKNOWN");
        }
    }
}
