//! Many entries, removed at once.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::busy;
use super::extract::OfCache;
use crate::cache::body::RemovedBody;
use crate::cache::removal::{Removed, Which};
use crate::etag;
use crate::hub::Hub;
use crate::openapi::ProblemBody;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(delete_entries))
}

/// Remove the entries that have a tag, whose key matches, or all.
///
/// Exactly one of `tag`, `match` and `all` says which. By tag, and all of a cache that the configuration
/// calls tagged, takes one step, however many there are; otherwise every key of the
/// deployment is looked at.
#[utoipa::path(delete, path = "/v1/cache/{cache}/entries", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entries"),
        ("tag" = Option<String>, Query, description = "Entries with this tag"),
        ("match" = Option<String>, Query, description = "Entries whose key matches, as redis-cli shows it after the cache's name: `*:list`, `4?6`"),
        ("all" = Option<bool>, Query, description = "`true`: every entry of the cache"),
    ),
    responses(
        (status = 200, body = RemovedBody, description = "By match: how many there were"),
        (status = 204, description = "By tag, or all: there are no such entries any more"),
        (status = 202, description = "The store is away: they will be removed before this hub reads from it again"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: some may be gone and others not"),
    ))]
async fn delete_entries(
    State(hub): State<Hub>,
    OfCache(cache): OfCache,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Response, Problem> {
    etag::refuse_conditions(&headers)?;
    let Query(pairs) = query?;
    let which = which(&pairs)?;
    if matches!(which, Which::Tagged(_)) {
        let settings = hub.caches().of(cache.name());
        settings.must_be_tagged(cache.name()).map_err(Problem::bad_request)?;
    }
    // By tag it is one step; otherwise it looks at every key there is.
    let _place = match which {
        Which::Tagged(_) => None,
        Which::Matching(_) | Which::All => Some(hub.heavy_place().ok_or_else(busy)?),
    };
    Ok(match which.remove_from(&cache).await? {
        Removed::Counted(removed) => Json(RemovedBody { removed }).into_response(),
        Removed::Uncounted => StatusCode::NO_CONTENT.into_response(),
        Removed::Queued => StatusCode::ACCEPTED.into_response(),
    })
}

fn which(pairs: &[(String, String)]) -> Result<Which, Problem> {
    if let [(name, value)] = pairs {
        match (name.as_str(), value.as_str()) {
            ("tag", tag) => return Ok(Which::Tagged(tag.to_owned())),
            ("match", pattern) => return Ok(Which::Matching(pattern.to_owned())),
            ("all", "true") => return Ok(Which::All),
            _ => {}
        }
    }
    Err(Problem::bad_request(
        "it is not said which entries are to be removed: expected exactly one of ?tag=…, ?match=… and ?all=true",
    ))
}
