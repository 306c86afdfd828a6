//! `/v1/cache/…`

mod entries;
mod entry;
mod etag;
mod look;
mod stats;
mod warm;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use sinew::http::{Problem, RequestTenant};
use utoipa_axum::router::OpenApiRouter;

use super::{Documents, WrittenKey, documents};
use crate::hub::{BUSY, Hub};

pub(crate) fn routes(value_len_max: usize) -> OpenApiRouter<Hub> {
    OpenApiRouter::new()
        .merge(entry::routes(value_len_max))
        .merge(entries::routes())
        .merge(warm::routes())
        .merge(look::routes())
        .merge(stats::routes())
}

type CachePath = Result<Path<String>, PathRejection>;
type EntryPath = Result<Path<(String, String)>, PathRejection>;

/// The cache of a path, as the tenant of the request sees it.
fn open(hub: &Hub, tenant: Option<&RequestTenant>, path: CachePath) -> Result<Documents, Problem> {
    let Path(cache) = path?;
    open_named(hub, tenant, &cache)
}

/// The cache and the key of a path.
fn open_entry(
    hub: &Hub,
    tenant: Option<&RequestTenant>,
    path: EntryPath,
) -> Result<(Documents, WrittenKey), Problem> {
    let Path((cache, key)) = path?;
    Ok((open_named(hub, tenant, &cache)?, WrittenKey(key)))
}

fn open_named(
    hub: &Hub,
    tenant: Option<&RequestTenant>,
    cache: &str,
) -> Result<Documents, Problem> {
    let scope = hub.scope(tenant.map(|RequestTenant(tenant)| tenant))?;
    Ok(documents(&scope, cache, hub.caches().of(cache))?)
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY)
}
