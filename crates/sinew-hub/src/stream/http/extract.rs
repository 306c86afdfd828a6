//! What handlers take from a request.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use sinew::http::{Problem, RequestTenant};
use sinew::stream::Place;
use sinew::{Streams, Tenant};

use crate::duration;
use crate::hub::Hub;
use crate::stream::{audit, terms};

/// The most that a list tells of at once.
pub(crate) const COUNT_MAX: usize = 1_000;
const COUNT_DEFAULT: usize = 100;

/// The streams of the request's tenant.
pub(super) struct OfStreams {
    pub(super) streams: Streams,
    pub(super) tenant: Option<Tenant>,
}

/// The same, and the topic that the path names.
pub(super) struct OfTopic {
    pub(super) streams: Streams,
    pub(super) tenant: Option<Tenant>,
    pub(super) topic: String,
}

/// The same, and a group.
pub(super) struct OfGroup {
    pub(super) streams: Streams,
    pub(super) tenant: Option<Tenant>,
    pub(super) topic: String,
    pub(super) group: String,
}

impl OfGroup {
    /// Tenant, topic and group, for a log.
    pub(super) fn names(&self) -> (Option<&str>, &str, &str) {
        (self.tenant.as_ref().map(Tenant::as_str), &self.topic, &self.group)
    }
}

/// An event of a topic.
pub(super) struct OfEvent {
    pub(super) streams: Streams,
    pub(super) topic: String,
    pub(super) place: Place,
}

impl FromRequestParts<Hub> for OfStreams {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let tenant = Option::<RequestTenant>::from_request_parts(parts, hub).await?;
        let tenant = tenant.map(|RequestTenant(tenant)| tenant);
        let streams = hub.streams(tenant.as_ref()).map_err(Problem::bad_request)?;
        Ok(Self { streams, tenant })
    }
}

impl FromRequestParts<Hub> for OfTopic {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let topic: String = from_path(parts, hub).await?;
        refuse_audit(parts, &topic)?;
        let OfStreams { streams, tenant } = OfStreams::from_request_parts(parts, hub).await?;
        Ok(Self { streams, tenant, topic })
    }
}

impl FromRequestParts<Hub> for OfGroup {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let (topic, group): (String, String) = from_path(parts, hub).await?;
        refuse_audit(parts, &topic)?;
        let OfStreams { streams, tenant } = OfStreams::from_request_parts(parts, hub).await?;
        Ok(Self { streams, tenant, topic, group })
    }
}

impl FromRequestParts<Hub> for OfEvent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Problem> {
        let (topic, text): (String, String) = from_path(parts, hub).await?;
        let OfStreams { streams, .. } = OfStreams::from_request_parts(parts, hub).await?;
        Ok(Self { streams, topic, place: place(&text)? })
    }
}

/// The audit is looked at, and written by hubs alone.
fn refuse_audit(parts: &Parts, topic: &str) -> Result<(), Problem> {
    match audit::is_one(topic) && !parts.method.is_safe() {
        true => Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("{topic} is an audit: expected it to be read only"),
        )),
        false => Ok(()),
    }
}

/// What the path says.
pub(crate) async fn from_path<T: DeserializeOwned + Send>(
    parts: &mut Parts,
    hub: &Hub,
) -> Result<T, Problem> {
    let Path(said) = Path::<T>::from_request_parts(parts, hub)
        .await
        .map_err(|_| Problem::bad_request("the path is not text: expected UTF-8"))?;
    Ok(said)
}

/// What the query says.
pub(crate) fn asked<T>(
    query: Result<Query<T>, QueryRejection>,
    expected: &str,
) -> Result<T, Problem> {
    query.map(|Query(asked)| asked).map_err(|_| {
        Problem::bad_request(format!("the query is not what it should be: expected {expected}"))
    })
}

pub(super) fn place(text: &str) -> Result<Place, Problem> {
    terms::place(text).map_err(Problem::bad_request)
}

/// Of a list: how many to tell of.
pub(crate) fn count(said: Option<usize>) -> Result<usize, Problem> {
    let count = said.unwrap_or(COUNT_DEFAULT);
    match (1..=COUNT_MAX).contains(&count) {
        true => Ok(count),
        false => Err(Problem::bad_request(format!(
            "a count of {count} is out of bounds: expected 1 to {COUNT_MAX}"
        ))),
    }
}

pub(crate) fn time(name: &str, text: &str) -> Result<Duration, Problem> {
    duration::parse(text).map_err(|what| Problem::bad_request(format!("{name}: {what}")))
}
