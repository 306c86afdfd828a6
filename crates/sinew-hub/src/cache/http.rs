//! `/v1/cache/…`

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sinew::http::{Problem, RequestTenant};
use sinew::{Invalidated, Stats};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Documents, WrittenKey, document, documents};
use crate::duration;
use crate::hub::Hub;
use crate::openapi::ProblemBody;

pub(crate) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(get_entry, put_entry, delete_entry))
        .layer(DefaultBodyLimit::max(value_len_max))
        .routes(routes!(stats))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PutOptions {
    /// How long the entry lives at most: `30s`, `10m`, `1h 30m`. The cache's own TTL unless given.
    ttl: Option<String>,
}

type EntryPath = Result<Path<(String, String)>, PathRejection>;

/// Look an entry up.
#[utoipa::path(get, path = "/v1/cache/{cache}/entries/{key}", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("key" = String, Path, description = "Segments between colons, like 456:payments:list"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entry"),
    ),
    responses(
        (status = 200, body = serde_json::Value, description = "The value"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such entry, or the store is away: load it from its source"),
    ))]
async fn get_entry(
    State(hub): State<Hub>,
    tenant: Option<RequestTenant>,
    path: EntryPath,
) -> Result<Response, Problem> {
    let (cache, key) = open(&hub, tenant, path)?;
    match cache.get(&key).await? {
        Some(value) => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            Ok((json, value.get().to_owned()).into_response())
        }
        None => Err(Problem::new(StatusCode::NOT_FOUND, "no such entry")),
    }
}

/// Store an entry.
#[utoipa::path(put, path = "/v1/cache/{cache}/entries/{key}", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("key" = String, Path, description = "Segments between colons, like 456:payments:list"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entry"),
        PutOptions,
    ),
    request_body(content = serde_json::Value, description = "Any JSON document"),
    responses(
        (status = 204, description = "Stored"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "The value is too large"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may or may not be stored"),
    ))]
async fn put_entry(
    State(hub): State<Hub>,
    tenant: Option<RequestTenant>,
    path: EntryPath,
    options: Result<Query<PutOptions>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let (cache, key) = open(&hub, tenant, path)?;
    let Query(options) = options?;
    let ttl = options.ttl.as_deref().map(duration::parse_ttl).transpose();
    let ttl = ttl.map_err(Problem::bad_request)?;
    let body = body.map_err(|rejection| too_large_or(rejection, hub.sinew().value_len_max()))?;
    let text = String::from_utf8(body.into())
        .map_err(|_| Problem::bad_request("the value is not UTF-8: expected one JSON document"))?;
    let value = document(text).map_err(Problem::bad_request)?;
    match ttl {
        Some(ttl) => cache.put_with_ttl(&key, &value, ttl).await?,
        None => cache.put(&key, &value).await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Remove an entry.
#[utoipa::path(delete, path = "/v1/cache/{cache}/entries/{key}", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("key" = String, Path, description = "Segments between colons, like 456:payments:list"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entry"),
    ),
    responses(
        (status = 204, description = "There is no such entry any more"),
        (status = 202, description = "The store is away: it will be removed before this hub reads from it again"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
    ))]
async fn delete_entry(
    State(hub): State<Hub>,
    tenant: Option<RequestTenant>,
    path: EntryPath,
) -> Result<StatusCode, Problem> {
    let (cache, key) = open(&hub, tenant, path)?;
    Ok(match cache.invalidate(&key).await? {
        Invalidated::Done => StatusCode::NO_CONTENT,
        Invalidated::Queued => StatusCode::ACCEPTED,
    })
}

/// What a cache did in this hub since it started, over all tenants.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatsBody {
    cache: String,
    hits_local: u64,
    hits_redis: u64,
    misses: u64,
    loads: u64,
    load_errors: u64,
    /// Failures of the store that callers were shielded from
    errors: u64,
    /// 0 to 1; null before the first look-up
    hit_ratio: Option<f64>,
}

impl StatsBody {
    fn new(cache: String, stats: Stats) -> Self {
        Self {
            cache,
            hits_local: stats.hits_local,
            hits_redis: stats.hits_redis,
            misses: stats.misses,
            loads: stats.loads,
            load_errors: stats.load_errors,
            errors: stats.errors,
            hit_ratio: stats.hit_ratio(),
        }
    }
}

/// Statistics of a cache.
#[utoipa::path(get, path = "/v1/cache/{cache}/stats", tag = "cache",
    params(("cache" = String, Path, description = "Name of the cache")),
    responses(
        (status = 200, body = StatsBody),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No one has used a cache of this name"),
    ))]
async fn stats(
    State(hub): State<Hub>,
    cache: Result<Path<String>, PathRejection>,
) -> Result<Json<StatsBody>, Problem> {
    let Path(cache) = cache?;
    sinew::Sinew::check_cache_name(&cache)?;
    match hub.sinew().cache_stats().get(&cache) {
        Some(stats) => Ok(Json(StatsBody::new(cache, *stats))),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no one has used a cache of this name in this hub",
        )),
    }
}

fn open(
    hub: &Hub,
    tenant: Option<RequestTenant>,
    path: EntryPath,
) -> Result<(Documents, WrittenKey), Problem> {
    let Path((cache, key)) = path?;
    let scope = hub.scope(tenant.as_ref().map(|RequestTenant(tenant)| tenant))?;
    let cache = documents(&scope, &cache, hub.ttl_of(&cache))?;
    Ok((cache, WrittenKey(key)))
}

fn too_large_or(rejection: BytesRejection, value_len_max: usize) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the value is too large: expected at most {value_len_max} bytes"),
        ),
        _ => rejection.into(),
    }
}
