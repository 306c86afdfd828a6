//! One entry: looked up, stored, removed.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sinew::http::{Problem, TENANT_HEADER};
use sinew::{Invalidated, PutOptions, Ttl};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::OfEntry;
use crate::cache::{document, version};
use crate::hub::Hub;
use crate::openapi::ProblemBody;
use crate::{duration, etag};

pub(super) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(get_entry, put_entry, delete_entry))
        .layer(DefaultBodyLimit::max(value_len_max))
}

/// Look an entry up.
///
/// HEAD does the same without the value.
#[utoipa::path(get, path = "/v1/cache/{cache}/entries/{key}", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("key" = String, Path, description = "Segments between colons, like 456:payments:list; a colon in one is %3A"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entry"),
        ("If-None-Match" = Option<String>, Header, description = "ETags of the values that the client has"),
    ),
    responses(
        (status = 200, body = serde_json::Value, description = "The value",
            headers(("ETag" = String, description = "Of this value, to the byte"))),
        (status = 304, description = "The client has it"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such entry, or the store is away: load it from its source"),
    ))]
async fn get_entry(OfEntry(cache, key): OfEntry, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(value) = cache.get(&key).await? else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no such entry"));
    };
    let tag = etag::of(value.get());
    let is_known = etag::is_known(&headers, &tag);
    let about = [
        (header::ETAG, tag.as_str()),
        // Whoever keeps a copy asks each time: nobody would tell it of an invalidation.
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, TENANT_HEADER),
    ];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((about, json, value.get().to_owned()).into_response())
}

/// Store an entry.
///
/// With `version`, it is stored only if that is greater than the version of what is there; so writers
/// that race each other may come in any order. Conditions like `If-Match` are not supported.
#[utoipa::path(put, path = "/v1/cache/{cache}/entries/{key}", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("key" = String, Path, description = "Segments between colons, like 456:payments:list; a colon in one is %3A"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entry"),
        ("ttl" = Option<String>, Query, description = "How long the entry lives at most: `30s`, `10m`, `1h 30m`. The cache's own TTL unless given"),
        ("tag" = Option<Vec<String>>, Query, description = "By which many entries are removed at once; may be repeated. For caches that the configuration calls tagged"),
        ("version" = Option<u64>, Query, description = "Store it only over an older version: 0 to 18446744073709551614; goes with neither ttl nor tag"),
    ),
    request_body(content = serde_json::Value, description = "Any JSON document"),
    responses(
        (status = 204, description = "Stored"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "There is this version or a newer one"),
        (status = 413, body = ProblemBody, content_type = "application/problem+json", description = "The value is too large"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away: it may or may not be stored"),
    ))]
async fn put_entry(
    State(hub): State<Hub>,
    OfEntry(cache, key): OfEntry,
    headers: HeaderMap,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    etag::refuse_conditions(&headers)?;
    let Query(pairs) = query?;
    let wanted = Wanted::read(pairs).map_err(Problem::bad_request)?;
    if !wanted.tags.is_empty() {
        let settings = hub.caches().of(cache.name());
        settings.must_be_tagged(cache.name()).map_err(Problem::bad_request)?;
    }
    let body = body.map_err(|rejection| too_large_or(rejection, hub.sinew().value_len_max()))?;
    let text = String::from_utf8(body.into())
        .map_err(|_| Problem::bad_request("the value is not UTF-8: expected one JSON document"))?;
    let value = document(text).map_err(Problem::bad_request)?;
    match wanted.version {
        None => cache.put_with(&key, &value, wanted.options()).await?,
        Some(version) => {
            if !cache.put_versioned(&key, &value, version).await? {
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    format!(
                        "version {version} is not newer than what is there, or came within 5 s of an invalidation"
                    ),
                ));
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// How an entry is to be stored.
#[derive(Default)]
struct Wanted {
    ttl: Option<Ttl>,
    tags: Vec<String>,
    version: Option<u64>,
}

impl Wanted {
    fn read(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "ttl" if wanted.ttl.is_none() => wanted.ttl = Some(duration::parse_ttl(&value)?),
                "tag" => wanted.tags.push(value),
                "version" if wanted.version.is_none() => wanted.version = Some(version(&value)?),
                "ttl" | "version" => {
                    return Err(format!("{name} is given more than once: expected it once"));
                }
                unknown => {
                    return Err(format!(
                        "unknown parameter {unknown:?}: expected ttl, tag or version"
                    ));
                }
            }
        }
        match wanted.version.is_some() && (wanted.ttl.is_some() || !wanted.tags.is_empty()) {
            true => Err("version goes with neither ttl nor tag: expected it alone".to_owned()),
            false => Ok(wanted),
        }
    }

    fn options(self) -> PutOptions {
        let options = match self.ttl {
            Some(ttl) => PutOptions::new().ttl(ttl),
            None => PutOptions::new(),
        };
        self.tags.into_iter().fold(options, PutOptions::tag)
    }
}

/// Remove an entry.
#[utoipa::path(delete, path = "/v1/cache/{cache}/entries/{key}", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("key" = String, Path, description = "Segments between colons, like 456:payments:list; a colon in one is %3A"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entry"),
    ),
    responses(
        (status = 204, description = "There is no such entry any more"),
        (status = 202, description = "The store is away: it will be removed before this hub reads from it again"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
    ))]
async fn delete_entry(
    OfEntry(cache, key): OfEntry,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    etag::refuse_conditions(&headers)?;
    Ok(match cache.invalidate(&key).await? {
        Invalidated::Done => StatusCode::NO_CONTENT,
        Invalidated::Queued => StatusCode::ACCEPTED,
    })
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
