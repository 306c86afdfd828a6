//! All queues of a tenant.

use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use futures_util::future::try_join_all;
use serde::Deserialize;
use sinew::Jobs;
use sinew::job::{Grain, QueueLook};

use super::extract::{OfJobs, Open, Whose, address};
use super::live::{Again, Seen, live};
use super::stats::{Point, a_minute, line, points};
use crate::dashboard::extract::{Asked, is_plain};
use crate::dashboard::show::{Fault, NOT_KNOWN, render};
use crate::duration::shown;
use crate::hub::{BUSY, Hub};

/// So many are shown at once: each is asked for its numbers, and for what was counted.
const SHOWN: usize = 50;
/// Of the small charts.
const MINUTES: usize = 30;

#[derive(Template)]
#[template(path = "jobs.html")]
struct Page {
    has_tenants: bool,
    tenant: String,
    queues: String,
    recurring: String,
    fault: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "jobs_queues.html")]
struct Queues {
    rows: Vec<Row>,
    /// How many there are in all.
    count: usize,
    first: Option<String>,
    next: Option<String>,
}

struct Row {
    whose: Whose,
    is_paused: bool,
    /// Where it is paused, or resumed.
    switch: String,
    waiting: u64,
    scheduled: u64,
    running: u64,
    dead: u64,
    done_a_minute: String,
    failed_a_minute: String,
    oldest: String,
    done: String,
    failed: String,
    told: String,
}

/// The queues behind this one.
#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: String,
}

/// The page of all; or, where one is named, that one: it need not be there yet.
pub(super) async fn page(
    State(hub): State<Hub>,
    Asked(Open { open, tenant }): Asked<Open>,
) -> Response {
    let fault = match open.trim() {
        "" => None,
        queue if is_plain(queue) => {
            let whose = Whose { tenant, queue: queue.to_owned() };
            return Redirect::to(&whose.at("")).into_response();
        }
        _ => Some("No queue is called so: expected A-Z a-z 0-9 . _ - and not only dots."),
    };
    render(&Page {
        has_tenants: hub.has_tenants(),
        queues: address("/jobs/~queues", &tenant, &[]),
        recurring: address("/jobs/~recurring", &tenant, &[]),
        tenant,
        fault,
    })
}

pub(super) async fn queues(
    State(hub): State<Hub>,
    OfJobs { jobs, tenant }: OfJobs,
    Asked(After { after }): Asked<After>,
    Asked(seen): Asked<Seen>,
) -> Response {
    let part = match hub.heavy_place() {
        Some(_place) => table(&jobs, &tenant, &after).await,
        None => Err(Fault::part(BUSY)),
    };
    let url = at(&tenant, &after);
    live(part, Again { url, every: "3s", target: "queues" }, &seen)
}

fn at(tenant: &str, after: &str) -> String {
    let after = Some(("after", after)).filter(|(_, after)| !after.is_empty());
    address("/jobs/~queues", tenant, after.as_slice())
}

async fn table(jobs: &Jobs, tenant: &str, after: &str) -> Result<Queues, Fault> {
    let mut names = jobs.queues().await?;
    names.sort_unstable();
    let count = names.len();
    let mut names: Vec<String> = names.into_iter().filter(|name| name.as_str() > after).collect();
    let is_more = names.len() > SHOWN;
    names.truncate(SHOWN);
    let next = names.last().filter(|_| is_more).map(|last| at(tenant, last));
    let rows = try_join_all(names.into_iter().map(|name| row(jobs, tenant, name))).await?;
    Ok(Queues {
        rows: rows.into_iter().flatten().collect(),
        count,
        first: (!after.is_empty()).then(|| at(tenant, "")),
        next,
    })
}

/// Nothing of one that is in the list and was never used.
async fn row(jobs: &Jobs, tenant: &str, name: String) -> Result<Option<Row>, Fault> {
    let queue = jobs.queue(&name);
    let Some(look) = queue.look().await? else { return Ok(None) };
    let periods = queue.stats(Grain::Minute, MINUTES).await?;
    let now = UNIX_EPOCH + Duration::from_millis(look.now_ms);
    let points = points(&periods, Duration::from_secs(60), now, MINUTES);
    let not_done = |point: &Point| point.failed + point.dead;
    let most = points.iter().map(|point| point.done.max(not_done(point))).max().unwrap_or(0);
    let whose = Whose { tenant: tenant.to_owned(), queue: name };
    Ok(Some(Row {
        switch: whose.switch(look.is_paused),
        whose,
        is_paused: look.is_paused,
        waiting: look.waiting,
        scheduled: look.scheduled,
        running: look.running,
        dead: look.dead,
        done_a_minute: a_minute(&points, now, |point| point.done),
        failed_a_minute: a_minute(&points, now, not_done),
        oldest: oldest(&look),
        done: line(&points, |point| point.done, most),
        failed: line(&points, not_done, most),
        told: format!("The last {MINUTES} minutes: at most {most} a minute"),
    }))
}

/// For how long the oldest has waited.
pub(super) fn oldest(look: &QueueLook) -> String {
    look.oldest_ms.map_or_else(
        || NOT_KNOWN.to_owned(),
        |oldest_ms| shown(Duration::from_millis(look.now_ms.saturating_sub(oldest_ms))),
    )
}
