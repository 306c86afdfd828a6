//! One subject of a limit: looked at, and let off.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sinew::Tenant;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::OfSubject;
use crate::hub::Hub;
use crate::limit::body::{ForgottenBody, StandingBody};
use crate::openapi::ProblemBody;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(get_subject, reset_subject))
}

/// How a limit stands for a subject.
///
/// As a check with a cost of 1 would find it. Nothing is charged or counted.
#[utoipa::path(get, path = "/v1/limits/{name}/{subject}", tag = "limit",
    params(
        ("name" = String, Path, description = "Name of the limit"),
        ("subject" = String, Path, description = "Parts between colons, like ada:exports; a colon in one is %3A"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose limit"),
    ),
    responses(
        (status = 200, body = StandingBody, description = "By now"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such limit is defined"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn get_subject(
    OfSubject { limiter, limit, subject, .. }: OfSubject,
) -> Result<Response, Problem> {
    let decision = limiter.peek([limit.of(&subject)]).await?;
    let [standing] = decision.limits() else {
        return Err(Problem::new(StatusCode::BAD_GATEWAY, "the store did not tell of one limit"));
    };
    let body = Json(StandingBody::new(limit.name(), standing));
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// Forget all that was charged to a subject under a limit.
///
/// Other processes may deny it for up to a second more.
#[utoipa::path(delete, path = "/v1/limits/{name}/{subject}", tag = "limit",
    params(
        ("name" = String, Path, description = "Name of the limit"),
        ("subject" = String, Path, description = "Parts between colons, like ada:exports; a colon in one is %3A"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose limit"),
    ),
    responses(
        (status = 200, body = ForgottenBody, description = "Nothing is charged to it any more"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such limit is defined"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be forgotten or not"),
    ))]
async fn reset_subject(
    OfSubject { limiter, tenant, limit, subject }: OfSubject,
) -> Result<Json<ForgottenBody>, Problem> {
    let forgotten = limiter.reset(limit.of(&subject)).await?;
    let tenant = tenant.as_ref().map(Tenant::as_str);
    // Not whose: a subject may be an address, or a key that opens something.
    tracing::warn!(
        limit = limit.name(),
        tenant,
        forgotten,
        "a subject of a limit was reset over HTTP"
    );
    Ok(Json(ForgottenBody { forgotten }))
}
