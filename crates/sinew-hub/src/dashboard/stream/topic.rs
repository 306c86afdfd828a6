//! One topic: its groups, and how full it is.

use askama::Template;
use axum::response::Response;
use sinew::stream::TopicInfo;

use super::extract::{OfTopic, Whose};
use super::{GroupRow, NOT_KNOWN, ago};
use crate::dashboard::show::{Fault, render};
use crate::duration;

/// Of the groups that are furthest behind.
const CHARTS_MAX: usize = 12;

#[derive(Template)]
#[template(path = "stream_topic.html")]
struct Page {
    whose: Whose,
    /// The groups that have a chart.
    charts: Vec<String>,
}

#[derive(Template)]
#[template(path = "stream_topic_now.html")]
struct Now {
    whose: Whose,
    partitions: u16,
    len: u64,
    len_max: u64,
    keep: String,
    published: u64,
    delayed: u64,
    dead: u64,
    lost: u64,
    last: String,
    held_by: String,
    groups: Vec<GroupRow>,
}

pub(super) async fn page(OfTopic { streams, whose }: OfTopic) -> Response {
    // The page is shown without charts, too.
    let mut groups = streams.lag(&whose.topic).await.unwrap_or_default();
    groups.sort_by_key(|lag| std::cmp::Reverse(lag.oldest_unacked));
    let charts = groups.into_iter().take(CHARTS_MAX).map(|lag| lag.group).collect();
    render(&Page { whose, charts })
}

/// The part of the page that it fetches again and again.
pub(super) async fn now(OfTopic { streams, whose }: OfTopic) -> Result<Response, Fault> {
    let Some(info) = streams.look(&whose.topic).await? else {
        return Err(Fault::part(&format!("no topic {:?}: the first event makes one", whose.topic)));
    };
    Ok(render(&Now::of(whose, info)))
}

impl Now {
    fn of(whose: Whose, info: TopicInfo) -> Self {
        Self {
            whose,
            partitions: info.partitions,
            len: info.len,
            len_max: info.len_max,
            keep: duration::written(info.keep),
            published: info.published,
            delayed: info.delayed,
            dead: info.dead,
            lost: info.lost,
            last: ago(info.last_at),
            held_by: info.held_by.unwrap_or_else(|| NOT_KNOWN.to_owned()),
            groups: info.groups.into_iter().map(GroupRow::from).collect(),
        }
    }
}
