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

/// Names the environment where no query can, such as that of a client of OpenFeature.
pub(crate) const ENV_HEADER: &str = "X-Flags-Env";

/// The flags of the request's tenant, in the environment that it names.
pub(super) struct OfFlags(pub(super) Flags);

/// The same, whose and where they are, and the key or name that the path has.
pub(super) struct OfFlag {
    pub(super) flags: Flags,
    pub(super) at: At,
    pub(super) key: String,
}

/// Whose flags, and in which environment, for the log.
pub(super) struct At {
    /// Empty for flags that belong to none.
    pub(super) tenant: String,
    pub(super) env: String,
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

/// Whose flags a request is about, in which environment, and the flags.
pub(crate) struct Found {
    pub(crate) tenant: Option<Tenant>,
    pub(crate) env: Option<String>,
    pub(crate) flags: Flags,
}

/// What a request is about; `said` is the environment that its query names.
pub(crate) async fn flags_of(
    parts: &mut Parts,
    hub: &Hub,
    said: Option<String>,
) -> Result<Found, Problem> {
    let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
    let tenant = tenant.map(|RequestTenant(tenant)| tenant);
    let env = env_of(&parts.headers, said)?;
    let flags = hub.flags(tenant.as_ref(), env.as_deref()).await.map_err(Problem::bad_request)?;
    Ok(Found { tenant, env, flags })
}

/// The environment that a query names, or else the header.
pub(crate) fn env_of(headers: &HeaderMap, said: Option<String>) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(ENV_HEADER).iter();
    let named = match (values.next(), values.next()) {
        (None, _) => return Ok(said),
        (Some(value), None) => value.to_str().map(str::trim).ok(),
        (Some(_), Some(_)) => None,
    };
    let named = named.ok_or_else(|| {
        Problem::bad_request(format!("{ENV_HEADER} is not what it should be: expected one name"))
    })?;
    match said {
        Some(said) if said != named => Err(Problem::bad_request(format!(
            "the query names another environment than {ENV_HEADER}: expected one environment"
        ))),
        _ => Ok(Some(named.to_owned())),
    }
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
        Ok(Self(found(parts, hub).await?.flags))
    }
}

/// What a request is about whose query names an environment, or nothing.
async fn found(parts: &mut Parts, hub: &Hub) -> Result<Found, Problem> {
    let Query(InEnv { env }) = Query::<InEnv>::try_from_uri(&parts.uri).map_err(|_| {
        Problem::bad_request("the query is not what it should be: expected env=NAME, or none")
    })?;
    flags_of(parts, hub, env).await
}

impl FromRequestParts<Hub> for OfFlag {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let key = key_of(parts, hub).await?;
        let Found { tenant, env, flags } = found(parts, hub).await?;
        let at = At {
            tenant: tenant.map(|tenant| tenant.as_str().to_owned()).unwrap_or_default(),
            env: env.unwrap_or_else(|| hub.flags_env().to_owned()),
        };
        Ok(Self { flags, at, key })
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
        refuse_another_site(parts).map(|()| Self)
    }
}

/// Refuses what a page of another site has sent.
pub(crate) fn refuse_another_site(parts: &Parts) -> Result<(), Problem> {
    match is_from_another_site(parts) {
        false => Ok(()),
        true => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "a page of another site has sent this: expected a client, or a page of this hub",
        )),
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
