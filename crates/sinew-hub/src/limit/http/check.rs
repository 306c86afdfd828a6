//! Asking limits for leave.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sinew::http::Problem;
use sinew::limit::{Check, Decision, Limit, Standing};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::OfLimits;
use super::{defined, headers};
use crate::hub::Hub;
use crate::json;
use crate::limit::body::{CheckRequest, DecisionBody};
use crate::openapi::ProblemBody;

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(check_limits))
}

/// Ask limits for leave.
///
/// All of them are charged if all admit it, and none is charged if one does not. If the reply is lost on
/// its way, they may be charged. While the store is away, each limit answers as its `onDown` says, and the
/// answer is `degraded`.
#[utoipa::path(post, path = "/v1/limits/check", tag = "limit",
    params(("X-Tenant-Id" = Option<String>, Header, description = "Whose limits")),
    request_body = CheckRequest,
    responses(
        (status = 200, body = DecisionBody, description = "The request may go on",
            headers(
                ("RateLimit-Policy" = String, description = "The limits that were asked"),
                ("RateLimit" = String, description = "How they stand"),
                ("X-RateLimit-Limit" = u64, description = "Of the limit that is nearest: its quota"),
                ("X-RateLimit-Remaining" = u64, description = "What it would still admit"),
                ("X-RateLimit-Reset" = u64, description = "Seconds until more is available: until the next try where it denies, else until all of it is there again"),
            )),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such limit is defined"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 429, body = ProblemBody, content_type = "application/problem+json", description = "Some limit does not admit it: the problem has the members of the decision as well, and the names of those limits as `violated-policies`. The headers are those of status 200",
            headers(("Retry-After" = u64, description = "When to ask again, in seconds; none where the cost is more than a limit ever admits"))),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, and was never asked for the definition; or a limit that is `closed` until it is back denies it, and the problem is like that of status 429"),
    ))]
async fn check_limits(
    State(hub): State<Hub>,
    OfLimits { limiter, .. }: OfLimits,
    body: Result<Json<CheckRequest>, JsonRejection>,
) -> Result<Response, Problem> {
    let CheckRequest { checks, peek } = json::read(
        body,
        r#"like {"checks": [{"limit": "per-user", "subject": "ada", "cost": 1}]}"#,
    )?;
    for (at, check) in checks.iter().enumerate() {
        check.validate().map_err(|what| Problem::bad_request(format!("checks[{at}].{what}")))?;
    }
    let mut limits = Vec::with_capacity(checks.len());
    for check in &checks {
        limits.push(defined(&hub, &check.limit).await?);
    }
    let asked: Vec<Check<'_>> = limits
        .iter()
        .zip(&checks)
        .map(|(limit, check)| limit.of(&check.subject).cost(check.cost.unwrap_or(1)))
        .collect();
    let decision = match peek {
        true => limiter.peek(&asked).await?,
        false => limiter.check(&asked).await?,
    };
    let headers = headers::of(&decision, &asked);
    Ok(match decision.is_allowed() {
        true => (headers, Json(DecisionBody::new(&decision, &limits))).into_response(),
        false => denied(headers, &decision, &limits),
    })
}

/// Whether a limit denies it that is closed until the store answers: no quota is used up then.
fn is_shut(decision: &Decision, limits: &[Limit]) -> bool {
    let of = |standing: &Standing| limits.get(standing.check);
    decision.limits().iter().any(|standing| of(standing).is_some_and(|one| standing.is_shut(one)))
}

fn denied(headers: HeaderMap, decision: &Decision, limits: &[Limit]) -> Response {
    let body = DecisionBody::new(decision, limits);
    let denying = body.limits.iter().filter(|limit| !limit.admits && !limit.shadow);
    let mut names: Vec<&str> = denying.map(|limit| limit.limit.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let (status, uri, wait) = match (is_shut(decision, limits), body.retry_after_ms) {
        (true, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            REDUCED_CAPACITY,
            "the store is away, and it is closed until that is back",
        ),
        (false, Some(_)) => {
            (StatusCode::TOO_MANY_REQUESTS, QUOTA_EXCEEDED, "ask again after Retry-After")
        }
        (false, None) => (
            StatusCode::TOO_MANY_REQUESTS,
            QUOTA_EXCEEDED,
            "a cost is more than its limit ever admits",
        ),
    };
    let problem = Problem::new(status, format!("not admitted by {}: {wait}", names.join(", ")))
        .with_type(uri)
        .with_member("violated-policies", json!(names))
        .with_member("allowed", json!(body.allowed))
        .with_member("degraded", json!(body.degraded))
        .with_member("retryAfterMs", json!(body.retry_after_ms))
        .with_member("limits", json!(body.limits));
    let mut response = problem.into_response();
    response.headers_mut().extend(headers);
    response
}
