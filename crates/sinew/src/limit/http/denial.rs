//! What a client gets whose request is denied.

use ::http::header::RETRY_AFTER;
use ::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::fields::{HeaderStyle, rate_limit_headers, seconds};
use crate::http::Problem;
use crate::limit::{Check, Decision, Limit};

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// The answer to a request that is [`Decision::Denied`]: a problem, why and until when; see
/// [the module](crate::limit::http).
///
/// It is 429, or 503 where a limit that is [`Down::Closed`](crate::limit::Down::Closed) is among those that deny, and Redis did not
/// answer. `checks` are those that were decided on, in the same order.
#[must_use]
pub fn too_many_requests(
    decision: &Decision,
    checks: &[Check<'_>],
    style: HeaderStyle,
) -> Response {
    let denied = decision.limits().iter().filter(|standing| standing.denies());
    let (mut violated, mut is_shut) = (Vec::<&Limit>::new(), false);
    for standing in denied {
        let Some(limit) = checks.get(standing.check).map(|check| check.limit) else { continue };
        is_shut |= standing.is_shut(limit);
        if !violated.iter().any(|other| other.name() == limit.name()) {
            violated.push(limit);
        }
    }
    let wait = decision.retry_after();
    let (status, uri, detail) = match (is_shut, wait) {
        (true, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            REDUCED_CAPACITY,
            "requests cannot be counted now, and none is let in uncounted: expected another attempt later",
        ),
        (false, Some(_)) => (
            StatusCode::TOO_MANY_REQUESTS,
            QUOTA_EXCEEDED,
            "a quota is used up: expected no request before the time in Retry-After is over",
        ),
        (false, None) => (
            StatusCode::TOO_MANY_REQUESTS,
            QUOTA_EXCEEDED,
            "this request costs more than a quota ever admits: expected a smaller one",
        ),
    };
    let names: Vec<&str> = violated.into_iter().map(Limit::name).collect();
    let problem = Problem::new(status, detail).with_type(uri);
    let mut response = problem.with_member("violated-policies", names).into_response();
    let headers = response.headers_mut();
    headers.extend(rate_limit_headers(decision, checks, style));
    if let Some(wait) = wait {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
    }
    response
}
