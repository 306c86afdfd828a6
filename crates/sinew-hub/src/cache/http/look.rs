//! Looking at a cache's entries without taking one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use sinew::http::Problem;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::busy;
use super::extract::{Asked, OfCache, OfEntry, Parameters};
use crate::cache::body::{InfoBody, KeyHeatBody, KeySizeBody};
use crate::hub::Hub;
use crate::openapi::ProblemBody;

const KEYS_DEFAULT: usize = 10_000;
const KEYS_MAX: usize = 100_000;
const TOP_DEFAULT: usize = 20;
const TOP_MAX: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .routes(routes!(entry_info))
        .routes(routes!(largest_keys))
        .routes(routes!(hottest_keys))
}

/// What is known of an entry, without its value.
///
/// Not counted as a look-up.
#[utoipa::path(get, path = "/v1/cache/{cache}/info/{key}", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("key" = String, Path, description = "Segments between colons, like 456:payments:list; a colon in one is %3A"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entry"),
    ),
    responses(
        (status = 200, body = InfoBody),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json", description = "No such entry"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away"),
    ))]
async fn entry_info(OfEntry(cache, key): OfEntry) -> Result<Json<InfoBody>, Problem> {
    match cache.inspect(&key).await? {
        Some(entry) => Ok(Json(entry.into())),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "no such entry")),
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LargestQuery {
    /// How many keys to look at, at most: 1 to 100,000. 10,000 unless said
    #[param(minimum = 1, maximum = 100000)]
    keys: Option<usize>,
    /// How many to tell of: 1 to 1,000. 20 unless said
    #[param(minimum = 1, maximum = 1000)]
    top: Option<usize>,
}

impl Parameters for LargestQuery {
    const EXPECTED: &'static str = "nothing, or keys=N and top=N, each once";
}

/// The largest entries, among so many that were looked at.
#[utoipa::path(get, path = "/v1/cache/{cache}/keys/largest", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entries"),
        LargestQuery,
    ),
    responses(
        (status = 200, body = [KeySizeBody], description = "The largest first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
        (status = 502, body = ProblemBody, content_type = "application/problem+json", description = "The store refuses this hub"),
        (status = 503, body = ProblemBody, content_type = "application/problem+json", description = "The store is away, or others are looking: try again soon"),
    ))]
async fn largest_keys(
    State(hub): State<Hub>,
    OfCache(cache): OfCache,
    Asked(query): Asked<LargestQuery>,
) -> Result<Json<Vec<KeySizeBody>>, Problem> {
    let keys = within("keys", query.keys, KEYS_DEFAULT, KEYS_MAX)?;
    let top = within("top", query.top, TOP_DEFAULT, TOP_MAX)?;
    let _place = hub.heavy_place().ok_or_else(busy)?;
    let largest = cache.largest(keys, top).await?;
    Ok(Json(largest.into_iter().map(KeySizeBody::from).collect()))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HottestQuery {
    /// How many to tell of: 1 to 1,000. 20 unless said
    #[param(minimum = 1, maximum = 1000)]
    top: Option<usize>,
}

impl Parameters for HottestQuery {
    const EXPECTED: &'static str = "nothing, or top=N";
}

/// The entries that are looked up most in this hub, from a sample.
///
/// Of the look-ups since the hub started: nearly each of the first, later about one in a thousand, which
/// counts for those that were passed over. The older ones count for less and less.
#[utoipa::path(get, path = "/v1/cache/{cache}/keys/hottest", tag = "cache",
    params(
        ("cache" = String, Path, description = "Name of the cache"),
        ("X-Tenant-Id" = Option<String>, Header, description = "Whose entries"),
        HottestQuery,
    ),
    responses(
        (status = 200, body = [KeyHeatBody], description = "The hottest first"),
        (status = 400, body = ProblemBody, content_type = "application/problem+json", description = "Bad input"),
    ))]
async fn hottest_keys(
    OfCache(cache): OfCache,
    Asked(query): Asked<HottestQuery>,
) -> Result<Json<Vec<KeyHeatBody>>, Problem> {
    let top = within("top", query.top, TOP_DEFAULT, TOP_MAX)?;
    Ok(Json(cache.hottest(top).into_iter().map(KeyHeatBody::from).collect()))
}

fn within(name: &str, said: Option<usize>, default: usize, max: usize) -> Result<usize, Problem> {
    match said.unwrap_or(default) {
        number if (1..=max).contains(&number) => Ok(number),
        number => Err(Problem::bad_request(format!(
            "{name} of {number} is out of bounds: expected 1 to {max}"
        ))),
    }
}
