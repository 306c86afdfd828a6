//! What pages take from a request.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sinew::{Sinew, Tenant};

use super::show::{Fault, in_words};
use crate::cache::{Documents, WrittenKey};
use crate::hub::Hub;

/// The name of a cache, from the path.
pub(super) struct CacheName(pub(super) String);

/// What is asked for in the query.
pub(super) struct Asked<T>(pub(super) T);

/// A cache as a tenant sees it.
pub(super) struct OfCache {
    pub(super) documents: Documents,
    pub(super) tenant: String,
}

/// An entry as a tenant sees it.
pub(super) struct OfEntry {
    pub(super) documents: Documents,
    pub(super) which: Which,
    pub(super) key: WrittenKey,
}

#[derive(Deserialize)]
struct Whose {
    #[serde(default)]
    tenant: String,
}

/// Which entry, as the page says it.
#[derive(Deserialize)]
pub(super) struct Which {
    /// Empty for entries that belong to none.
    #[serde(default)]
    pub(super) tenant: String,
    pub(super) key: String,
}

impl FromRequestParts<Hub> for CacheName {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Path(cache) = Path::<String>::from_request_parts(parts, hub)
            .await
            .map_err(|_| Fault::page("the address is not text: expected the name of a cache"))?;
        Sinew::check_cache_name(&cache).map_err(|error| Fault::Page(in_words(&error)))?;
        Ok(Self(cache))
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(_) => Err(Fault::page("the address is not complete: expected one from a page")),
        }
    }
}

impl FromRequestParts<Hub> for OfCache {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let CacheName(cache) = CacheName::from_request_parts(parts, hub).await?;
        let Asked(Whose { tenant }) = Asked::<Whose>::from_request_parts(parts, hub).await?;
        Ok(Self { documents: open(hub, &cache, &tenant)?, tenant })
    }
}

impl FromRequestParts<Hub> for OfEntry {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let CacheName(cache) = CacheName::from_request_parts(parts, hub).await?;
        let Asked(which) = Asked::<Which>::from_request_parts(parts, hub).await?;
        let key = WrittenKey::new(which.key.as_str()).map_err(|what| Fault::part(&what))?;
        Ok(Self { documents: open(hub, &cache, &which.tenant)?, which, key })
    }
}

fn open(hub: &Hub, cache: &str, tenant: &str) -> Result<Documents, Fault> {
    let tenant = match tenant.trim() {
        "" => None,
        name => Some(Tenant::new(name)?),
    };
    hub.open(cache, tenant.as_ref()).map_err(|what| Fault::part(&what))
}
