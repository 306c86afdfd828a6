//! One queue: how it stands, and its switch.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use sinew::job::{Grain, QueueHandle, QueueLook};

use super::confirm::{Confirm, done, note};
use super::extract::{OfQueue, Switch, Whose};
use super::list::oldest;
use super::live::{Again, Seen, live};
use super::many;
use super::shelf::Tab;
use crate::auth::Actor;
use crate::dashboard::extract::{Asked, OurPage};
use crate::dashboard::show::{Fault, NOT_KNOWN, render};
use crate::duration::written;
use crate::hub::Hub;
use crate::job::audit::Act;
use crate::job::audit::recurring::Entry;
use crate::job::body::PeriodBody;

#[derive(Template)]
#[template(path = "job_queue.html")]
struct Page {
    whose: Whose,
    /// The jobs that are shown first.
    list: String,
    minutes: String,
    days: String,
    /// Kinds that ran today, to choose from.
    kinds: Vec<String>,
}

#[derive(Template)]
#[template(path = "job_queue_now.html")]
struct Now {
    whose: Whose,
    is_paused: bool,
    waiting: u64,
    oldest: String,
    /// Those in line, by priority, the first to be taken first.
    by_priority: String,
    scheduled: u64,
    running: u64,
    most: String,
    dead: u64,
    kept: u64,
    rate: String,
    per_key: String,
    partitions: u16,
    lanes: u64,
    owed: u64,
}

/// Apart from what changes by the second: a button is not replaced under a finger.
#[derive(Template)]
#[template(path = "job_standing.html")]
struct Standing {
    is_paused: bool,
    switch: String,
}

/// Which jobs are shown first.
#[derive(Deserialize)]
pub(super) struct First {
    #[serde(default)]
    state: Tab,
}

pub(super) async fn page(
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(First { state }): Asked<First>,
) -> Response {
    // The page is shown without them, too.
    let today = queue.stats(Grain::Day, 1).await.unwrap_or_default();
    let kinds = today.into_iter().flat_map(|period| PeriodBody::from(period).kinds);
    render(&Page {
        list: whose.with("/list", &[("state", state.name())]),
        minutes: whose.with("/history", &[("by", "minute")]),
        days: whose.with("/history", &[("by", "day")]),
        kinds: kinds.map(|(kind, _)| kind).filter(|kind| kind != "other").collect(),
        whose,
    })
}

/// The part of the page that it fetches again and again.
pub(super) async fn now(
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(seen): Asked<Seen>,
) -> Response {
    let again = Again { url: whose.at("/now"), every: "1s", target: "now" };
    let part = look(&queue, &whose).await.map(|look| Now::of(whose, &look));
    live(part, again, &seen)
}

pub(super) async fn standing(
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(seen): Asked<Seen>,
) -> Response {
    let again = Again { url: whose.at("/standing"), every: "2s", target: "standing-part" };
    let part = look(&queue, &whose)
        .await
        .map(|look| Standing { is_paused: look.is_paused, switch: whose.switch(look.is_paused) });
    live(part, again, &seen)
}

pub(super) async fn look(queue: &QueueHandle, whose: &Whose) -> Result<QueueLook, Fault> {
    queue.look().await?.ok_or_else(|| {
        Fault::part(&format!("there is no queue {} yet: its first job makes it", whose.in_words()))
    })
}

/// The second thought: what waits.
pub(super) async fn confirm_switch(
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(Switch { pause }): Asked<Switch>,
) -> Result<Response, Fault> {
    let look = look(&queue, &whose).await?;
    let (name, waiting) = (whose.in_words(), many(look.waiting, "job waits", "jobs wait"));
    let question = match pause {
        true => format!(
            "Pause queue {name}? Nobody takes its jobs until it is resumed: {waiting} now. What runs goes on."
        ),
        false => format!("Resume queue {name}? Its jobs are taken again: {waiting} now."),
    };
    Ok(render(&Confirm {
        question,
        act: if pause { "Pause it" } else { "Resume it" },
        method: "put",
        to: whose.switch(!pause),
        is_danger: pause,
        target: "asked",
        from: "switch",
    }))
}

pub(super) async fn switch(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(Switch { pause }): Asked<Switch>,
) -> Result<Response, Fault> {
    let before = look(&queue, &whose).await?;
    let name = whose.in_words();
    // What is so already is not noted.
    if before.is_paused == pause {
        let is = if pause { "paused" } else { "taken from" };
        return Ok(done(format!("Queue {name} is {is} already.")));
    }
    let act = if pause { Act::Pause } else { Act::Resume };
    let entry = Entry::switch_queue(act, &whose.queue, before.is_paused);
    let Entry { act, what, before, after } = entry;
    note(&hub, &whose.tenant, &actor, act, what, before, after).await?;
    let (queue_name, tenant, by) = (whose.queue.as_str(), whose.tenant(), actor.by("dashboard"));
    match pause {
        true => {
            queue.pause().await?;
            tracing::warn!(queue = queue_name, tenant, by, "a queue was paused on the dashboard");
            Ok(done(format!("Queue {name} is paused.")))
        }
        false => {
            queue.resume().await?;
            tracing::info!(queue = queue_name, tenant, by, "a queue was resumed on the dashboard");
            Ok(done(format!("Queue {name} is resumed.")))
        }
    }
}

impl Now {
    fn of(whose: Whose, look: &QueueLook) -> Self {
        let limit = |limit: u64| match limit {
            0 => "no limit".to_owned(),
            limit => format!("at most {limit}"),
        };
        let by_priority =
            look.by_priority.iter().enumerate().rev().filter(|(_, count)| **count > 0);
        let by_priority: Vec<String> = by_priority
            .map(|(priority, count)| format!("{count} of priority {priority}"))
            .collect();
        let (starts, per_ms) = look.rate;
        Self {
            is_paused: look.is_paused,
            waiting: look.waiting,
            oldest: oldest(look),
            by_priority: by_priority.join(", "),
            scheduled: look.scheduled,
            running: look.running,
            most: limit(look.global),
            dead: look.dead,
            kept: look.kept,
            rate: match starts {
                0 => NOT_KNOWN.to_owned(),
                starts => format!("{starts} in {}", written(Duration::from_millis(per_ms))),
            },
            per_key: match look.per_key {
                0 => NOT_KNOWN.to_owned(),
                per_key => per_key.to_string(),
            },
            partitions: look.partitions,
            lanes: look.lanes,
            owed: look.owed,
            whose,
        }
    }
}
