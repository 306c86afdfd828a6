//! All topics of a tenant.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use sinew::stream::TopicInfo;

use super::extract::{OfStreams, query};
use super::{NOT_KNOWN, ago};
use crate::dashboard::show::{Fault, render};
use crate::duration::shown;
use crate::hub::{BUSY, Hub};

#[derive(Template)]
#[template(path = "streams.html")]
struct Page {
    has_tenants: bool,
}

#[derive(Template)]
#[template(path = "streams_topics.html")]
struct Topics {
    rows: Vec<Row>,
    query: String,
}

struct Row {
    topic: String,
    partitions: u16,
    len: u64,
    len_max: u64,
    delayed: u64,
    dead: u64,
    lost: u64,
    groups: usize,
    /// The group that is furthest behind, and by how much.
    worst: String,
    last: String,
}

/// Without the topics: whose they are is yet to be said.
pub(super) async fn page(State(hub): State<Hub>) -> Response {
    render(&Page { has_tenants: hub.has_tenants() })
}

pub(super) async fn topics(
    State(hub): State<Hub>,
    OfStreams { streams, tenant }: OfStreams,
) -> Result<Response, Fault> {
    let _place = hub.heavy_place().ok_or_else(|| Fault::part(BUSY))?;
    let rows = streams.topics().await?.into_iter().map(Row::from).collect();
    Ok(render(&Topics { rows, query: query(&tenant) }))
}

impl From<TopicInfo> for Row {
    fn from(info: TopicInfo) -> Self {
        let worst = info.groups.iter().filter_map(|lag| Some((lag.oldest_unacked?, &lag.group)));
        let worst = worst.max().map(|(age, group)| format!("{group}, {}", shown(age)));
        Self {
            worst: worst.unwrap_or_else(|| NOT_KNOWN.to_owned()),
            partitions: info.partitions,
            len: info.len,
            len_max: info.len_max,
            delayed: info.delayed,
            dead: info.dead,
            lost: info.lost,
            groups: info.groups.len(),
            last: ago(info.last_at),
            topic: info.topic,
        }
    }
}
