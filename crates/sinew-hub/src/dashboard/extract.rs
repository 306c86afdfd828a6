//! What pages take from a request.

use axum::Form;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sinew::http::Problem;
use sinew::limit::Limiter;
use sinew::{Locks, Sinew, Tenant};
use tokio::sync::OwnedSemaphorePermit;

use super::show::{Fault, in_words};
use crate::cache::{Documents, WrittenKey};
use crate::flag::http::extract::refuse_another_site;
use crate::hub::{BUSY, Hub};
use crate::limit::check_name;

/// Of a form: a flag with some ten thousand overrides fits in.
const FORM_LEN_MAX: usize = 1 << 20;
/// Of a topic or a queue.
const NAME_LEN_MAX: usize = 128;

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

/// The locks of a tenant.
pub(super) struct OfLocks {
    pub(super) locks: Locks,
    pub(super) tenant: String,
}

/// A lock of a tenant.
pub(super) struct OfLock {
    pub(super) locks: Locks,
    pub(super) which: WhichLock,
}

/// The name of a limit, from the path. It need not be defined.
pub(super) struct LimitName(pub(super) String);

/// A limit as a tenant sees it.
pub(super) struct OfLimit {
    pub(super) limiter: Limiter,
    pub(super) name: String,
}

/// What only a page of ours can send: one of another site would have to ask for leave to send the header,
/// and is refused then. So is one whose browser says that it is from elsewhere. Where people sign in, it carries
/// the token of their session as well, without which nothing comes this far.
pub(crate) struct OurPage;

/// What a form of the page says, and the room that it takes.
pub(super) struct Said<T> {
    pub(super) said: T,
    _room: OwnedSemaphorePermit,
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

/// Which lock, as the page says it.
#[derive(Deserialize)]
pub(super) struct WhichLock {
    /// Empty for locks that belong to none.
    #[serde(default)]
    pub(super) tenant: String,
    pub(super) name: String,
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
            Err(_) => Err(Fault::page(
                "the address is not complete, or says what no page does: expected one from a page",
            )),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Hub> for Said<T> {
    type Rejection = Fault;

    async fn from_request(mut request: Request, hub: &Hub) -> Result<Self, Fault> {
        let room = hub.room_for(FORM_LEN_MAX).ok_or_else(|| Fault::part(BUSY))?;
        DefaultBodyLimit::max(FORM_LEN_MAX).apply(&mut request);
        match Form::<T>::from_request(request, hub).await {
            Ok(Form(said)) => Ok(Self { said, _room: room }),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(Fault::part(
                    "the form is too large: expected at most 1 MiB. What is larger is sent by the command line, as by `sinew flag set`",
                ))
            }
            Err(_) => Err(Fault::part("the form is not complete: expected one from a page")),
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

impl FromRequestParts<Hub> for OfLocks {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Asked(Whose { tenant }) = Asked::<Whose>::from_request_parts(parts, hub).await?;
        Ok(Self { locks: locks(hub, &tenant)?, tenant })
    }
}

impl FromRequestParts<Hub> for OfLock {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Asked(which) = Asked::<WhichLock>::from_request_parts(parts, hub).await?;
        Ok(Self { locks: locks(hub, &which.tenant)?, which })
    }
}

impl FromRequestParts<Hub> for LimitName {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Path(limit) = Path::<String>::from_request_parts(parts, hub)
            .await
            .map_err(|_| Fault::page("the address is not text: expected the name of a limit"))?;
        check_name(&limit).map_err(|error| Fault::Page(in_words(&error)))?;
        Ok(Self(limit))
    }
}

impl FromRequestParts<Hub> for OfLimit {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let LimitName(name) = LimitName::from_request_parts(parts, hub).await?;
        let Asked(Whose { tenant }) = Asked::<Whose>::from_request_parts(parts, hub).await?;
        let limiter = hub.limiter(named(&tenant)?.as_ref()).map_err(|what| Fault::part(&what))?;
        Ok(Self { limiter, name })
    }
}

impl<S: Sync> FromRequestParts<S> for OurPage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.headers.contains_key("hx-request") {
            true => refuse_another_site(parts).map(|()| Self),
            false => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "expected the header HX-Request, as the dashboard's own page sends it",
            )),
        }
    }
}

fn open(hub: &Hub, cache: &str, tenant: &str) -> Result<Documents, Fault> {
    hub.open(cache, named(tenant)?.as_ref()).map_err(|what| Fault::part(&what))
}

fn locks(hub: &Hub, tenant: &str) -> Result<Locks, Fault> {
    hub.locks(named(tenant)?.as_ref()).map_err(|what| Fault::part(&what))
}

pub(super) fn named(tenant: &str) -> Result<Option<Tenant>, Fault> {
    match tenant.trim() {
        "" => Ok(None),
        name => Ok(Some(Tenant::new(name)?)),
    }
}

/// What an address says after the path.
pub(super) fn asked(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| {
        format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
    };
    format!("?{}", pairs.iter().map(pair).collect::<Vec<_>>().join("&"))
}

/// Of a tenant: what a link says after the path.
pub(super) fn query(tenant: &str) -> String {
    match tenant.trim() {
        "" => String::new(),
        tenant => asked(&[("tenant", tenant)]),
    }
}

/// Whether a topic, a group or a queue can be called so. It stands in the paths that a page asks for: one with dots and
/// slashes would lead to another's reply.
pub(super) fn is_plain(name: &str) -> bool {
    name.len() <= NAME_LEN_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && name.bytes().any(|byte| byte != b'.')
}
