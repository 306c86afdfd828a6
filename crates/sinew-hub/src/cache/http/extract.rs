//! What handlers take from a request.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use sinew::Sinew;
use sinew::http::{Problem, RequestTenant};

use crate::cache::{Documents, WrittenKey};
use crate::hub::Hub;

/// The name of a cache, from the path.
pub(super) struct CacheName(pub(super) String);

/// The cache that the path names, as the tenant of the request sees it.
pub(super) struct OfCache(pub(super) Documents);

/// The same, and the key that the path names.
pub(super) struct OfEntry(pub(super) Documents, pub(super) WrittenKey);

/// What is asked for in the query.
pub(super) struct Asked<T>(pub(super) T);

/// What a query may ask for.
pub(super) trait Parameters: DeserializeOwned {
    /// For messages.
    const EXPECTED: &'static str;
}

impl FromRequestParts<Hub> for CacheName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let cache: String = from_path(parts, hub).await?;
        Sinew::check_cache_name(&cache)?;
        Ok(Self(cache))
    }
}

impl FromRequestParts<Hub> for OfCache {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let CacheName(cache) = CacheName::from_request_parts(parts, hub).await?;
        Ok(Self(open(parts, hub, &cache).await?))
    }
}

impl FromRequestParts<Hub> for OfEntry {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let (cache, key): (String, String) = from_path(parts, hub).await?;
        let key = WrittenKey::new(key).map_err(Problem::bad_request)?;
        Ok(Self(open(parts, hub, &cache).await?, key))
    }
}

impl<S: Sync, T: Parameters> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            // Without the reader's own words: they are about its types, and quote what was sent.
            Err(_) => Err(Problem::bad_request(format!(
                "the query is not what it should be: expected {}",
                T::EXPECTED
            ))),
        }
    }
}

async fn from_path<T: DeserializeOwned + Send>(parts: &mut Parts, hub: &Hub) -> Result<T, Problem> {
    let Path(names) = Path::<T>::from_request_parts(parts, hub)
        .await
        .map_err(|_| Problem::bad_request("the path is not text: expected UTF-8"))?;
    Ok(names)
}

async fn open(parts: &mut Parts, hub: &Hub, cache: &str) -> Result<Documents, Problem> {
    let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
    let tenant = tenant.as_ref().map(|RequestTenant(tenant)| tenant);
    hub.open(cache, tenant).map_err(Problem::bad_request)
}
