//! Flags as they are: looked at, changed and removed.

use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sinew::flag::Flag;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{At, OfFlag, OfFlags, Room, expect_known, expected};
use super::{FLAG_LEN_MAX, by, problem, unknown};
use crate::auth::Actor;
use crate::etag::tagged;
use crate::flag::body::FlagListBody;
use crate::flag::schema::FlagBody;
use crate::hub::Hub;
use crate::json;
use crate::openapi::ProblemBody;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(list_flags))
        .routes(routes!(get_flag, put_flag, remove_flag))
        .layer(DefaultBodyLimit::max(FLAG_LEN_MAX))
}

/// All flags, and the plain keys that decide before them.
#[utoipa::path(get, path = "/v1/flags", tag = "flag",
    params(
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flags"),
    ),
    responses(
        (status = 200, body = FlagListBody, description = "By key"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, and was never asked"),
    ))]
async fn list_flags(OfFlags(flags): OfFlags) -> Result<Response, Problem> {
    expect_known(&flags)?;
    let listed = Json(FlagListBody::of(&flags));
    Ok(([(header::CACHE_CONTROL, "no-store")], listed).into_response())
}

/// A flag, as it is.
#[utoipa::path(get, path = "/v1/flags/{key}", tag = "flag",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
    ),
    responses(
        (status = 200, body = FlagBody, description = "As it is known here: a change at another hub shows within a tenth of a second",
            headers(("ETag" = String, description = "Its revision between quotes, as If-Match takes it"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such flag"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, and was never asked"),
    ))]
async fn get_flag(OfFlag { flags, key, .. }: OfFlag) -> Result<Response, Problem> {
    expect_known(&flags)?;
    let flag = flags.get(&key).ok_or_else(|| unknown(&key))?;
    Ok(tagged(StatusCode::OK, flag.revision, &*flag))
}

/// Make a flag, or put another in its place.
///
/// What is not said is as if it had never been said; the revision is not read. It holds everywhere within a
/// tenth of a second. A flag that is killed stays so, whatever is said: only `POST …/revive` ends that. One that
/// is that already is not written: its revision stays.
#[utoipa::path(put, path = "/v1/flags/{key}", tag = "flag",
    params(
        ("key" = String, Path, description = "1 to 100 of A-Z a-z 0-9 . _ -"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be replaced, between quotes; or `*`: the one that this hub knows, if it knows one"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is no flag of this key"),
    ),
    request_body = FlagBody,
    responses(
        (status = 200, body = FlagBody, description = "Changed, or that already",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 201, body = FlagBody, description = "Made",
            headers(("ETag" = String, description = "Its revision between quotes"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input, or one more than two thousand"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "More than 1 MiB"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be changed or not"),
    ))]
async fn put_flag(
    OfFlag { flags, at, key }: OfFlag,
    actor: Actor,
    headers: HeaderMap,
    Room(_room): Room,
    body: Result<Json<Flag>, JsonRejection>,
) -> Result<Response, Problem> {
    let expected = expected(&flags, &key, &headers)?;
    let example = r#"like {"type": "bool", "default": "off", "users": {"ada": "on"}}"#;
    let flag = json::read_up_to(FLAG_LEN_MAX, body, example)?;
    let written = flags.put(&key, flag, expected, by(&actor)).await.map_err(problem)?;
    let revision = written.revision;
    if written.before != written.after {
        let At { tenant, env } = &at;
        tracing::info!(
            flag = key,
            revision,
            tenant,
            env,
            by = by(&actor),
            "a flag was changed over HTTP"
        );
    }
    let status = match written.before {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    };
    Ok(tagged(status, revision, written.after.as_ref()))
}

/// Remove a flag.
///
/// Whoever asks for it gets what the code says by itself.
#[utoipa::path(delete, path = "/v1/flags/{key}", tag = "flag",
    params(
        ("key" = String, Path, description = "Key of the flag"),
        ("env" = Option<String>, Query, description = "Of which environment; of the configured one unless given"),
        ("X-Flags-Env" = Option<String>, Header, description = "Of which environment, in place of the query"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose flag"),
        ("If-Match" = Option<String>, Header, description = "The revision that is to be removed, between quotes; or `*`: the one that this hub knows, if it knows one"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such flag"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "Another revision is there, or none"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be removed or not"),
    ))]
async fn remove_flag(
    OfFlag { flags, at, key }: OfFlag,
    actor: Actor,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let expected = expected(&flags, &key, &headers)?;
    let written = flags.remove(&key, expected, by(&actor)).await.map_err(problem)?;
    if written.before.is_none() {
        return Err(unknown(&key));
    }
    let At { tenant, env } = &at;
    tracing::warn!(flag = key, tenant, env, by = by(&actor), "a flag was removed over HTTP");
    Ok(StatusCode::NO_CONTENT)
}
