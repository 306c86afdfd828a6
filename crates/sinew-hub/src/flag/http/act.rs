//! What is done to a flag as it is: killed, revived, rolled back.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use sinew::ErrorKind;
use sinew::flag::{ChangeId, Flags, Written};
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{At, FromNoOtherSite, OfFlag, expected};
use super::{by, problem, unknown};
use crate::auth::Actor;
use crate::flag::body::{RollBackBody, WrittenBody};
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(kill_flag))
        .routes(routes!(revive_flag))
        .routes(routes!(roll_back_flag))
}

/// Switch a flag off for everyone, whatever else is said of it.
///
/// Plain keys count no more either. Nothing else of the flag is changed.
#[utoipa::path(post, path = "/v1/flags/{key}/kill", tag = "flag",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
    ),
    responses(
        (status = 200, body = WrittenBody, description = "It is off, also where it was; of a plain key alone, a flag was made"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Sent by a page of another site"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such flag"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing flags, or it was removed meanwhile"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be off or not"),
    ))]
async fn kill_flag(
    _from: FromNoOtherSite,
    OfFlag { flags, at, key }: OfFlag,
    actor: Actor,
) -> Result<Json<WrittenBody>, Problem> {
    let killed = flags.kill(&key, by(&actor)).await;
    let written = done(&flags, &key, killed)?;
    if written.is_change() {
        let At { tenant, env } = &at;
        tracing::warn!(flag = key, tenant, env, by = by(&actor), "a flag was killed over HTTP");
    }
    Ok(Json(written))
}

/// Let a flag be again what it was before it was killed.
#[utoipa::path(post, path = "/v1/flags/{key}/revive", tag = "flag",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
    ),
    responses(
        (status = 200, body = WrittenBody, description = "Its rules hold again"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Sent by a page of another site"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such flag"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing flags, or it was removed meanwhile"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be revived or not"),
    ))]
async fn revive_flag(
    _from: FromNoOtherSite,
    OfFlag { flags, at, key }: OfFlag,
    actor: Actor,
) -> Result<Json<WrittenBody>, Problem> {
    let revived = flags.revive(&key, by(&actor)).await;
    let written = done(&flags, &key, revived)?;
    if written.is_change() {
        let At { tenant, env } = &at;
        tracing::info!(flag = key, tenant, env, by = by(&actor), "a flag was revived over HTTP");
    }
    Ok(Json(written))
}

/// Make a flag what it was before a change.
///
/// That is a change like any other, of the kill switch, too. Where the change has made the flag, it is removed.
#[utoipa::path(post, path = "/v1/flags/{key}/roll-back", tag = "flag",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be replaced, between quotes; or `*`: the one that this hub knows, if it knows one"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no flag of this key"),
    ),
    request_body = RollBackBody,
    responses(
        (status = 200, body = WrittenBody, description = "It is as it was before"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such change of this flag is kept"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be rolled back or not"),
    ))]
async fn roll_back_flag(
    OfFlag { flags, at, key }: OfFlag,
    actor: Actor,
    headers: HeaderMap,
    body: Result<Json<RollBackBody>, JsonRejection>,
) -> Result<Json<WrittenBody>, Problem> {
    let expected = expected(&flags, &key, &headers)?;
    let RollBackBody { change } =
        json::read(body, r#"like {"change": "1795300000000-0"}, by an id of the audit"#)?;
    let change: ChangeId = change.parse()?;
    if flags.past_change(&key, &change).await.map_err(problem)?.is_none() {
        return Err(no_such_change(&key, &change));
    }
    let written = flags.roll_back(&key, &change, expected, by(&actor)).await.map_err(problem)?;
    let written = WrittenBody::from(written);
    if written.is_change() {
        let At { tenant, env } = &at;
        tracing::warn!(
            flag = key,
            tenant,
            env,
            by = by(&actor),
            "a flag was rolled back over HTTP"
        );
    }
    Ok(Json(written))
}

fn no_such_change(key: &str, change: &ChangeId) -> Problem {
    let shown: String = key.chars().take(100).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "no change {change} of flag {shown:?}: GET /v1/audit?kind=flag&key=KEY lists those that are"
        ),
    )
}

/// What was done to a flag, or that there is none.
fn done(flags: &Flags, key: &str, done: sinew::Result<Written>) -> Result<WrittenBody, Problem> {
    match done {
        Ok(written) => Ok(written.into()),
        Err(error) => Err(match error.kind() == ErrorKind::Conflict && flags.get(key).is_none() {
            true => unknown(key),
            false => problem(error),
        }),
    }
}
