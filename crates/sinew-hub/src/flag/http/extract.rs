//! What handlers take from a request.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use sinew::Tenant;
use sinew::flag::{Flags, FlagsState};
use sinew::http::{Problem, RequestTenant};
use sinew::limit::Expected;
use tokio::sync::OwnedSemaphorePermit;

use super::FLAG_LEN_MAX;
use crate::etag::{Condition, condition};
use crate::hub::{BUSY, Hub};

/// The flags of the request's tenant, in the environment that the query names.
pub(super) struct OfFlags(pub(super) Flags);

/// The same, and the key or name that the path has.
pub(super) struct OfFlag {
    pub(super) flags: Flags,
    pub(super) key: String,
}

/// What no page of another site has sent: a form there can send what needs no body of JSON.
pub(super) struct FromNoOtherSite;

/// Room for a body that may be large.
pub(super) struct Room(pub(super) OwnedSemaphorePermit);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InEnv {
    env: Option<String>,
}

/// The tenant of a request, and its flags.
pub(crate) async fn flags_of(
    parts: &mut Parts,
    hub: &Hub,
    env: Option<&str>,
) -> Result<(Option<Tenant>, Flags), Problem> {
    let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
    let tenant = tenant.map(|RequestTenant(tenant)| tenant);
    let flags = hub.flags(tenant.as_ref(), env).await.map_err(Problem::bad_request)?;
    Ok((tenant, flags))
}

/// The part of a path that names one.
pub(crate) async fn key_of(parts: &mut Parts, hub: &Hub) -> Result<String, Problem> {
    let path = Path::<String>::from_request_parts(parts, hub).await;
    path.map(|Path(key)| key)
        .map_err(|_| Problem::bad_request("the path is not text: expected UTF-8"))
}

/// Refuses where no flag can be known: the store was never reached.
pub(crate) fn expect_known(flags: &Flags) -> Result<(), Problem> {
    match flags.state() {
        FlagsState::Defaults => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store is away, and was never asked for these flags",
        )),
        _ => Ok(()),
    }
}

impl FromRequestParts<Hub> for OfFlags {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let Query(InEnv { env }) = Query::<InEnv>::try_from_uri(&parts.uri).map_err(|_| {
            Problem::bad_request("the query is not what it should be: expected env=NAME, or none")
        })?;
        Ok(Self(flags_of(parts, hub, env.as_deref()).await?.1))
    }
}

impl FromRequestParts<Hub> for OfFlag {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let key = key_of(parts, hub).await?;
        let OfFlags(flags) = OfFlags::from_request_parts(parts, hub).await?;
        Ok(Self { flags, key })
    }
}

impl FromRequestParts<Hub> for Room {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let told = parts.headers.get(header::CONTENT_LENGTH);
        let told = told.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let room = hub.room_for(told.unwrap_or(FLAG_LEN_MAX).min(FLAG_LEN_MAX));
        room.map(Self).ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, BUSY))
    }
}

impl FromRequestParts<Hub> for FromNoOtherSite {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Hub) -> Result<Self, Problem> {
        match is_from_another_site(parts) {
            false => Ok(Self),
            true => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "a page of another site has sent this: expected a client, or a page of this hub",
            )),
        }
    }
}

/// Only browsers say where a request is from, and they do with each that changes something.
fn is_from_another_site(parts: &Parts) -> bool {
    let Some(origin) = parts.headers.get(header::ORIGIN) else { return false };
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(Authority::as_str));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => !origin.eq_ignore_ascii_case(host),
        // A page that hides where it is from.
        _ => true,
    }
}

/// What a change is to find, by `If-Match` and `If-None-Match`.
pub(super) fn expected(flags: &Flags, key: &str, headers: &HeaderMap) -> Result<Expected, Problem> {
    match condition(headers)? {
        Condition::Of(expected) => Ok(expected),
        Condition::There => match flags.get(key) {
            Some(flag) => Ok(Expected::Revision(flag.revision)),
            None => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "no flag of this key is known: expected one, as If-Match: * says",
            )),
        },
    }
}
