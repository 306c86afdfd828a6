//! One lock: taken, extended and released by its token; or taken away from who has that.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sinew::http::Problem;
use sinew::lock::AcquireDetached;
use sinew::{Locks, Released, Tenant};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{OfLock, time, token};
use super::{busy, problem};
use crate::hub::Hub;
use crate::json;
use crate::lock::body::{ExtendedBody, GrantedBody, ReleasedBody, millis};
use crate::openapi::ProblemBody;

/// Below what any request may take.
const WAIT_MAX: Duration = Duration::from_secs(20);

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(acquire_lock, extend_lock, release_lock))
}

/// What a lock is asked for on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AcquireBody {
    /// For how long to hold it, unless it is extended: `10ms` to `24h`. `30s` unless said
    #[schema(example = "30s")]
    ttl: Option<String>,
    /// For how long to wait in line, if someone else holds it: at most `20s`. Not at all unless said
    #[schema(example = "0s")]
    wait: Option<String>,
}

/// For how long a lock is to be held.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExtendBody {
    /// From now: `10ms` to `24h`. Never shortens
    #[schema(example = "30s")]
    ttl: String,
}

/// Take a lock, or wait in line for it.
///
/// It is held with the token of the reply until its TTL has run out: no hub renews it, and the end of a hub
/// does not free it. Measure the TTL from before you asked, and `waitedMs` later: a lock that was waited for
/// for longer than its TTL is held all the same. A client that goes away while it waits leaves the line. If the
/// reply is lost on its way, the lock is held until its TTL has run out.
#[utoipa::path(post, path = "/v1/locks/{name}", tag = "lock",
    params(
        ("name" = String, Path, description = "Name of the lock"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose lock"),
    ),
    request_body = AcquireBody,
    responses(
        (status = 200, body = GrantedBody, description = "It is held with this token",
            headers(("ETag" = String, description = "The token between quotes, as If-Match takes it"))),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "Someone else holds it, or comes first",
            headers(("Retry-After" = u64, description = "When to ask again, in seconds, if nothing happens before"))),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, the hub is stopping, or too many wait: no one knows whether the lock is held"),
    ))]
async fn acquire_lock(
    State(hub): State<Hub>,
    OfLock { locks, name, .. }: OfLock,
    body: Result<Json<AcquireBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let AcquireBody { ttl, wait } = json::read(body, r#"like {"ttl": "30s", "wait": "0s"}"#)?;
    let mut lock = locks.lock(&name);
    if let Some(ttl) = ttl {
        lock = lock.ttl(time("ttl", &ttl)?);
    }
    let wait = wait.map_or(Ok(Duration::ZERO), |wait| time("wait", &wait))?;
    if wait > WAIT_MAX {
        return Err(Problem::bad_request(format!(
            "a wait of {wait:?} is out of bounds: expected at most {WAIT_MAX:?}; ask again to wait for longer"
        )));
    }
    let acquired = if wait.is_zero() {
        lock.acquire_detached().await
    } else {
        let _place = hub.waiting_place().ok_or_else(busy)?;
        tokio::select! {
            biased;
            acquired = lock.wait(wait).acquire_detached() => acquired,
            () = stopped(&hub) => {
                return Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "this hub is stopping: ask another one, or again soon",
                ));
            }
        }
    };
    match acquired.map_err(problem)? {
        AcquireDetached::Got(held) => Ok(granted(held.into())),
        AcquireDetached::Held { retry_after } => Ok(held(retry_after)),
    }
}

/// Who waits in line does not hold up the hub's end.
async fn stopped(hub: &Hub) {
    let mut stopping = hub.stopping();
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn granted(body: GrantedBody) -> Response {
    let about = [
        (header::ETAG, format!("\"{}\"", body.token)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (about, Json(body)).into_response()
}

fn held(retry_after: Duration) -> Response {
    let problem = Problem::new(
        StatusCode::CONFLICT,
        "someone else holds the lock, or comes first: ask again after Retry-After, or wait in line with wait",
    );
    // Whole seconds, and not before it can be free.
    let seconds = millis(retry_after).div_ceil(1_000).max(1);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Hold a lock for longer, at any hub.
///
/// One that was lost is not brought back.
#[utoipa::path(put, path = "/v1/locks/{name}", tag = "lock",
    params(
        ("name" = String, Path, description = "Name of the lock"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose lock"),
        ("If-Match" = String, Header, description = "The token between quotes"),
    ),
    request_body = ExtendBody,
    responses(
        (status = 200, body = ExtendedBody, description = "It is held for this long at least"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "It is not held with this token any more"),
        (status = 415, body = ProblemBody, content_type = "application/problem+json", description = "Not JSON"),
        (status = 428, body = ProblemBody, content_type = "application/problem+json", description = "If-Match is missing"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it is held for as long as before, and perhaps longer"),
    ))]
async fn extend_lock(
    OfLock { locks, name, .. }: OfLock,
    headers: HeaderMap,
    body: Result<Json<ExtendBody>, JsonRejection>,
) -> Result<Json<ExtendedBody>, Problem> {
    let token = token(&headers)?.ok_or_else(without_token)?;
    let ExtendBody { ttl } = json::read(body, r#"like {"ttl": "30s"}"#)?;
    let ttl = time("ttl", &ttl)?;
    match locks.extend(&name, token, ttl).await.map_err(problem)? {
        true => Ok(Json(ExtendedBody { ttl_ms: millis(ttl) })),
        false => Err(lost()),
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReleaseQuery {
    /// `true`: take it away from all who hold it, without a token. They go on until they hear of it
    #[serde(default)]
    force: bool,
}

/// Release a lock, at any hub; or take it away from all who hold it.
#[utoipa::path(delete, path = "/v1/locks/{name}", tag = "lock",
    params(
        ("name" = String, Path, description = "Name of the lock"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose lock"),
        ("If-Match" = Option<String>, Header, description = "The token between quotes; none beside force"),
        ReleaseQuery,
    ),
    responses(
        (status = 200, body = ReleasedBody, description = "By force: how many held it"),
        (status = 204, description = "It is free, or its next holder's"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 412, body = ProblemBody, content_type = "application/problem+json", description = "It is not held with this token any more"),
        (status = 428, body = ProblemBody, content_type = "application/problem+json", description = "If-Match is missing"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may be free or not"),
    ))]
async fn release_lock(
    OfLock { locks, tenant, name }: OfLock,
    headers: HeaderMap,
    query: Result<Query<ReleaseQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(ReleaseQuery { force }) = query.map_err(|_| {
        Problem::bad_request("the query is not what it should be: expected nothing, or force=true")
    })?;
    match (token(&headers)?, force) {
        (Some(token), false) => match locks.release(&name, token).await.map_err(problem)? {
            Released::Gone => Err(lost()),
            Released::Freed | Released::Kept => Ok(StatusCode::NO_CONTENT.into_response()),
        },
        (None, false) => Err(without_token()),
        (None, true) => take_away(&locks, tenant.as_ref(), &name).await,
        (Some(_), true) => Err(Problem::bad_request(
            "force takes the lock from whoever holds it: expected either force=true or If-Match",
        )),
    }
}

async fn take_away(
    locks: &Locks,
    tenant: Option<&Tenant>,
    name: &str,
) -> Result<Response, Problem> {
    let released = locks.force_release(name).await.map_err(problem)?;
    let tenant = tenant.map(Tenant::as_str);
    tracing::warn!(lock = name, tenant, released, "a lock was taken away over HTTP");
    Ok(Json(ReleasedBody { released }).into_response())
}

fn lost() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "the lock is not held with this token any more: it ran out, was released or was taken away",
    )
}

fn without_token() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_REQUIRED,
        "the header If-Match is missing: expected the token between quotes, as the lock was granted with",
    )
}
