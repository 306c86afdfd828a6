//! What caches did.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sinew::http::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::CacheName;
use crate::cache::body::StatsBody;
use crate::hub::Hub;
use crate::openapi::ProblemBody;

pub(super) fn routes() -> OpenApiRouter<Hub> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(stats))
}

/// The caches that someone has used in this hub, or that its configuration names.
#[utoipa::path(get, path = "/v1/cache", tag = "cache",
    responses((status = 200, body = [StatsBody], description = "By name, with their statistics")))]
async fn list(State(hub): State<Hub>) -> Json<Vec<StatsBody>> {
    let caches = hub.cache_stats().into_iter();
    Json(caches.map(|(name, stats)| StatsBody::new(name, stats)).collect())
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
    CacheName(cache): CacheName,
) -> Result<Json<StatsBody>, Problem> {
    match hub.sinew().cache_stats().get(&cache) {
        Some(stats) => Ok(Json(StatsBody::new(cache, *stats))),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no one has used a cache of this name in this hub",
        )),
    }
}
