//! One group of a topic: how far behind it is, and who holds what.

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use serde_json::json;
use sinew::Streams;
use sinew::stream::{ConsumerInfo, Force, GroupChange, GroupLag};

use super::extract::{OfTopic, Whose};
use super::{GroupRow, NOT_KNOWN};
use crate::auth::Actor;
use crate::dashboard::extract::OurPage;
use crate::dashboard::show::{Fault, render, visible};
use crate::duration::shown;
use crate::stream::audit::Act;
use crate::stream::body::GroupBody;

#[derive(Template)]
#[template(path = "stream_group.html")]
struct Page {
    whose: Whose,
}

#[derive(Template)]
#[template(path = "stream_group_now.html")]
struct Now {
    whose: Whose,
    group: GroupRow,
    consumers: Vec<Consumer>,
}

struct Consumer {
    name: String,
    label: String,
    held: u64,
    left: String,
    partitions: String,
    oldest: String,
}

#[derive(Template)]
#[template(path = "stream_forget_confirm.html")]
struct Confirm {
    whose: Whose,
    vals: String,
    unfinished: String,
}

#[derive(Template)]
#[template(path = "stream_forgotten.html")]
struct Forgotten {
    whose: Whose,
}

pub(super) async fn page(OfTopic { whose, .. }: OfTopic) -> Response {
    render(&Page { whose })
}

/// The part of the page that it fetches again and again.
pub(super) async fn now(OfTopic { streams, whose }: OfTopic) -> Result<Response, Fault> {
    let group = GroupRow::from(lag(&streams, &whose).await?);
    let consumers = streams.consumers(&whose.topic, &whose.group).await?;
    let consumers = consumers.into_iter().map(Consumer::from).collect();
    Ok(render(&Now { whose, group, consumers }))
}

/// The second thought: what it has not finished.
pub(super) async fn confirm(OfTopic { streams, whose }: OfTopic) -> Result<Response, Fault> {
    let lag = lag(&streams, &whose).await?;
    let begun = lag.held.saturating_add(lag.parked);
    let unfinished = format!("{} it has not begun with, {begun} it has", super::count(lag.waiting));
    let vals = whose.vals("");
    Ok(render(&Confirm { whose, vals, unfinished }))
}

pub(super) async fn forget(
    _: OurPage,
    actor: Actor,
    OfTopic { streams, whose }: OfTopic,
) -> Result<Response, Fault> {
    let before = GroupBody::from(lag(&streams, &whose).await?);
    let what = json!({ "topic": whose.topic, "group": whose.group, "force": true });
    super::dead::note(&streams, &actor, Act::Forget, what, json!(before)).await?;
    match streams.forget_group(&whose.topic, &whose.group, Force::Yes).await? {
        GroupChange::Done => {}
        GroupChange::Unknown => return Err(Fault::part("there is no such group any more")),
        _ => return Err(Fault::part("the group was not removed: try again")),
    }
    let (topic, group, by) = (whose.topic.as_str(), whose.group.as_str(), actor.by("dashboard"));
    tracing::warn!(topic, group, by, "a group was removed on the dashboard");
    Ok(render(&Forgotten { whose }))
}

async fn lag(streams: &Streams, whose: &Whose) -> Result<GroupLag, Fault> {
    let groups = streams.lag(&whose.topic).await?;
    let found = groups.into_iter().find(|lag| lag.group == whose.group);
    found.ok_or_else(|| {
        let Whose { topic, group, .. } = whose;
        Fault::part(&format!("topic {topic:?} has no group {group:?}"))
    })
}

impl From<ConsumerInfo> for Consumer {
    fn from(info: ConsumerInfo) -> Self {
        let not_known = || NOT_KNOWN.to_owned();
        let owned = info.partitions.iter().map(|(partition, _)| partition.to_string());
        Self {
            name: visible(&info.name),
            label: visible(&info.label),
            held: info.held,
            left: match info.lease_left {
                None => not_known(),
                Some(Duration::ZERO) => "over".to_owned(),
                Some(left) => shown(left),
            },
            partitions: match info.partitions.is_empty() {
                true => not_known(),
                false => owned.collect::<Vec<_>>().join(", "),
            },
            oldest: info.oldest.map_or_else(not_known, |place| place.to_string()),
        }
    }
}
