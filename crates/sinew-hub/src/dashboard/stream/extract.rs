//! What pages of streams take from a request.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::Deserialize;
use sinew::Streams;
use sinew::stream::Place;

use crate::dashboard::extract::{Asked, is_plain, named};
pub(super) use crate::dashboard::extract::{asked, query};
use crate::dashboard::show::Fault;
use crate::hub::Hub;
use crate::stream::audit;
use crate::stream::http::dead::Which;

/// The streams of a tenant.
pub(super) struct OfStreams {
    pub(super) streams: Streams,
    pub(super) tenant: String,
}

/// A topic of a tenant. It need not be there.
pub(super) struct OfTopic {
    pub(super) streams: Streams,
    pub(super) whose: Whose,
}

/// Which topic, and which of its groups where there is one, as the path and the query say it.
pub(super) struct Whose {
    pub(super) tenant: String,
    pub(super) topic: String,
    /// Empty on the page of a topic.
    pub(super) group: String,
}

#[derive(Deserialize)]
struct Tenant {
    #[serde(default)]
    tenant: String,
}

/// An event of the topic.
#[derive(Deserialize)]
pub(super) struct WhichPlace {
    #[serde(default)]
    place: String,
}

impl WhichPlace {
    pub(super) fn read(&self) -> Result<Place, Fault> {
        match self.place.trim() {
            "" => Err(Fault::part("no place: expected that of an event")),
            text => place(text),
        }
    }
}

/// One letter of the group, or all.
#[derive(Deserialize)]
pub(super) struct WhichLetters {
    #[serde(default)]
    place: String,
    /// A request that names none is one that has lost the name: that all are meant is said.
    #[serde(default)]
    all: bool,
}

impl WhichLetters {
    pub(super) fn read(&self) -> Result<Which, Fault> {
        match (self.place.trim(), self.all) {
            ("", true) => Ok(Which::All),
            ("", false) => Err(Fault::page("no letter is named: expected a place, or all=true")),
            (_, true) => Err(Fault::page("a place and all=true: expected one of them")),
            (text, false) => place(text).map(|place| Which::These(vec![place])),
        }
    }
}

fn place(text: &str) -> Result<Place, Fault> {
    text.parse().map_err(|_| {
        Fault::part("that is no place of an event: expected one like 3:1795316265410-0")
    })
}

impl Whose {
    /// What a link says after the path.
    pub(super) fn query(&self) -> String {
        query(&self.tenant)
    }

    /// What a button says that is for all letters.
    pub(super) fn vals_of_all(&self) -> String {
        serde_json::json!({ "tenant": self.tenant, "all": true }).to_string()
    }

    /// What a button says.
    pub(super) fn vals(&self, place: &str) -> String {
        serde_json::json!({ "tenant": self.tenant, "place": place }).to_string()
    }
}

impl FromRequestParts<Hub> for OfStreams {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Asked(Tenant { tenant }) = Asked::<Tenant>::from_request_parts(parts, hub).await?;
        let streams = hub.streams(named(&tenant)?.as_ref()).map_err(|what| Fault::part(&what))?;
        Ok(Self { streams, tenant })
    }
}

impl FromRequestParts<Hub> for OfTopic {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Fault> {
        let Path(mut path) = Path::<BTreeMap<String, String>>::from_request_parts(parts, hub)
            .await
            .map_err(|_| Fault::page("the address is not text: expected the name of a topic"))?;
        let OfStreams { streams, tenant } = OfStreams::from_request_parts(parts, hub).await?;
        let mut said = |name: &str| path.remove(name).unwrap_or_default();
        let whose = Whose { tenant, topic: said("topic"), group: said("group") };
        if !is_plain(&whose.topic) || !(whose.group.is_empty() || is_plain(&whose.group)) {
            return Err(Fault::page(
                "no topic or group is called so: expected A-Z a-z 0-9 . _ - and not only dots",
            ));
        }
        // As it is for programs.
        if audit::is_one(&whose.topic) && !parts.method.is_safe() {
            return Err(Fault::part("this is an audit: it is read only"));
        }
        Ok(Self { streams, whose })
    }
}
