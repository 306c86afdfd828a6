//! Segments: users that rules can name together.

use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use sinew::flag::{Flags, Segment};
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{At, OfFlag, OfFlags, Room, expect_known};
use super::{FLAG_LEN_MAX, by, problem};
use crate::auth::Actor;
use crate::flag::body::SegmentListBody;
use crate::flag::schema::FlagSegmentBody;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_segments))
        .routes(routes!(get_segment, put_segment, remove_segment))
        .layer(DefaultBodyLimit::max(FLAG_LEN_MAX))
}

/// All segments.
#[utoipa::path(get, path = "/v1/flag-segments", tag = "flag",
    params(
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose segments"),
    ),
    responses(
        (status = 200, body = SegmentListBody, description = "By name"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, and was never asked"),
    ))]
async fn list_segments(OfFlags(flags): OfFlags) -> Result<Json<SegmentListBody>, Problem> {
    expect_known(&flags)?;
    Ok(Json(SegmentListBody { segments: flags.segments().into_iter().collect() }))
}

/// A segment.
#[utoipa::path(get, path = "/v1/flag-segments/{name}", tag = "flag",
    params(
        ("name" = String, Path, description = "Name of the segment"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose segment"),
    ),
    responses(
        (status = 200, body = FlagSegmentBody, description = "Who is in it"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such segment"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, and was never asked"),
    ))]
async fn get_segment(OfFlag { flags, key: name, .. }: OfFlag) -> Result<Json<Segment>, Problem> {
    expect_known(&flags)?;
    found(&flags, &name).map(Json)
}

/// Make a segment, or put another in its place.
#[utoipa::path(put, path = "/v1/flag-segments/{name}", tag = "flag",
    params(
        ("name" = String, Path, description = "1 to 100 of A-Z a-z 0-9 . _ -"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose segment"),
    ),
    request_body = FlagSegmentBody,
    responses(
        (status = 204, description = "It holds for every rule that names it"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "More than 1 MiB"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be changed or not"),
    ))]
async fn put_segment(
    OfFlag { flags, at, key: name }: OfFlag,
    actor: Actor,
    Room(_room): Room,
    body: Result<Json<Segment>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let example =
        r#"like {"any": [[{"attribute": "plan", "op": "in", "values": ["pro", "team"]}]]}"#;
    let segment = json::read_up_to(FLAG_LEN_MAX, body, example)?;
    let version = flags.put_segment(&name, segment, by(&actor)).await.map_err(problem)?;
    let At { tenant, env } = &at;
    tracing::info!(
        segment = name,
        version,
        tenant,
        env,
        by = by(&actor),
        "a segment was changed over HTTP"
    );
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a segment that no rule names any more.
#[utoipa::path(delete, path = "/v1/flag-segments/{name}", tag = "flag",
    params(
        ("name" = String, Path, description = "Name of the segment"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose segment"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, or a rule names it"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such segment"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be removed or not"),
    ))]
async fn remove_segment(
    OfFlag { flags, at, key: name }: OfFlag,
    actor: Actor,
) -> Result<StatusCode, Problem> {
    expect_known(&flags)?;
    found(&flags, &name)?;
    flags.remove_segment(&name, by(&actor)).await.map_err(problem)?;
    let At { tenant, env } = &at;
    tracing::warn!(segment = name, tenant, env, by = by(&actor), "a segment was removed over HTTP");
    Ok(StatusCode::NO_CONTENT)
}

fn found(flags: &Flags, name: &str) -> Result<Segment, Problem> {
    let segment = flags.segments().into_iter().find(|(known, _)| known == name);
    segment.map(|(_, segment)| segment).ok_or_else(|| {
        let shown: String = name.chars().take(100).collect();
        Problem::new(
            StatusCode::NOT_FOUND,
            format!(
                "no segment {shown:?}: PUT /v1/flag-segments/NAME makes one, GET /v1/flag-segments lists those that are"
            ),
        )
    })
}
