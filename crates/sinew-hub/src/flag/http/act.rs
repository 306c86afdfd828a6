//! What is done to a flag as it is: killed, revived, rolled back.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use sinew::ErrorKind;
use sinew::flag::{ChangeId, Flags, Written};
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{FromNoOtherSite, OfFlag};
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
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
    ),
    responses(
        (status = 200, body = WrittenBody, description = "It is off, also where it was"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 403, body = ProblemBody, content_type = "application/problem+json", description = "Sent by a page of another site"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such flag"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Others keep changing flags, or it was removed meanwhile"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be off or not"),
    ))]
async fn kill_flag(
    _from: FromNoOtherSite,
    OfFlag { flags, key }: OfFlag,
    actor: Actor,
) -> Result<Json<WrittenBody>, Problem> {
    let killed = flags.kill(&key, by(&actor)).await;
    let written = done(&flags, &key, killed)?;
    tracing::warn!(flag = key, by = by(&actor), "a flag was killed over HTTP");
    Ok(Json(written))
}

/// Let a flag be again what it was before it was killed.
#[utoipa::path(post, path = "/v1/flags/{key}/revive", tag = "flag",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
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
    OfFlag { flags, key }: OfFlag,
    actor: Actor,
) -> Result<Json<WrittenBody>, Problem> {
    let revived = flags.revive(&key, by(&actor)).await;
    let written = done(&flags, &key, revived)?;
    tracing::info!(flag = key, by = by(&actor), "a flag was revived over HTTP");
    Ok(Json(written))
}

/// Make a flag what it was before a change.
///
/// That is a change like any other. Where the change has made the flag, it is removed.
#[utoipa::path(post, path = "/v1/flags/{key}/roll-back", tag = "flag",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
    ),
    request_body = RollBackBody,
    responses(
        (status = 200, body = WrittenBody, description = "It is as it was before"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, or no such change of this flag is kept"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Someone else has changed it meanwhile"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be rolled back or not"),
    ))]
async fn roll_back_flag(
    OfFlag { flags, key }: OfFlag,
    actor: Actor,
    body: Result<Json<RollBackBody>, JsonRejection>,
) -> Result<Json<WrittenBody>, Problem> {
    let RollBackBody { change } =
        json::read(body, r#"like {"change": "1795300000000-0"}, by an id of the audit"#)?;
    let change: ChangeId = change.parse()?;
    let written = flags.roll_back(&key, &change, by(&actor)).await.map_err(problem)?;
    tracing::warn!(flag = key, by = by(&actor), "a flag was rolled back over HTTP");
    Ok(Json(written.into()))
}

/// What was done to a flag, or that there is none.
fn done(flags: &Flags, key: &str, done: sinew::Result<Written>) -> Result<WrittenBody, Problem> {
    match done {
        Ok(written) => Ok(written.into()),
        Err(error) => {
            let is_refused = matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Conflict);
            Err(match is_refused && flags.get(key).is_none() {
                true => unknown(key),
                false => problem(error),
            })
        }
    }
}
