//! Jobs that recur: all of them, and one: when it fires next, and its switches.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde_json::Value;
use sinew::Jobs;
use sinew::job::{JobId, RecurringAt};

use super::confirm::{self, Confirm, done_with};
use super::extract::{OfJobs, OfRecurring, Open, Recurs, Switch, address};
use super::live::{Again, Seen, live};
use crate::auth::Actor;
use crate::dashboard::extract::{Asked, OurPage, is_plain};
use crate::dashboard::show::{Fault, render, visible};
use crate::hub::{BUSY, Hub};
use crate::job::audit::recurring::Entry;
use crate::job::body::RecurringBody;

/// On it, the page asks for all that it shows again, its form as well.
const GONE: [(&str, &str); 1] = [("hx-trigger", "job-changed, recurring-saved")];
/// On it, for all but its form, in which something may be typed.
const SWITCHED: [(&str, &str); 1] = [("hx-trigger", "job-changed")];
const UTC: &str = "UTC";

#[derive(Template)]
#[template(path = "job_recurring_list.html")]
struct List {
    has_tenants: bool,
    tenant: String,
    jobs: String,
    all: String,
    fault: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "job_recurring_all.html")]
struct All {
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(path = "job_recurring.html")]
struct Page {
    recurs: Recurs,
}

#[derive(Template)]
#[template(path = "job_recurring_now.html")]
struct Now {
    /// Nothing where it is not defined.
    row: Option<Row>,
    switch: String,
    fire: String,
    drop: String,
}

/// A recurring job, as pages show it.
struct Row {
    name: String,
    to: String,
    queue: String,
    queue_to: String,
    kind: String,
    schedule: String,
    missed: String,
    overlap: String,
    is_paused: bool,
    /// By its own clock.
    next: Vec<String>,
    last_tick: String,
    /// The address of the job that it made last, and its id.
    last_job: Option<(String, String)>,
}

#[derive(Template)]
#[template(path = "job_recurring_switched.html")]
struct Switched {
    said: String,
    /// For the form: of what is there now.
    revision: u64,
    is_paused: bool,
}

#[derive(Template)]
#[template(path = "job_recurring_dropped.html")]
struct Dropped {
    name: String,
}

/// The page of all; or, where one is named, that one: it need not be defined yet.
pub(super) async fn list(
    State(hub): State<Hub>,
    Asked(Open { open, tenant }): Asked<Open>,
) -> Response {
    let fault = match open.trim() {
        "" => None,
        name if is_plain(name) => {
            let recurs = Recurs { tenant, name: name.to_owned() };
            return Redirect::to(&recurs.at("")).into_response();
        }
        _ => Some("No recurring job is called so: expected A-Z a-z 0-9 . _ - and not only dots."),
    };
    render(&List {
        has_tenants: hub.has_tenants(),
        jobs: address("/jobs", &tenant, &[]),
        all: address("/jobs/~recurring/~all", &tenant, &[]),
        tenant,
        fault,
    })
}

pub(super) async fn all(
    State(hub): State<Hub>,
    OfJobs { jobs, tenant }: OfJobs,
    Asked(seen): Asked<Seen>,
) -> Response {
    let part = match hub.heavy_place() {
        Some(_place) => table(&jobs, &tenant).await,
        None => Err(Fault::part(BUSY)),
    };
    let url = address("/jobs/~recurring/~all", &tenant, &[]);
    live(part, Again { url, every: "5s", target: "all" }, &seen)
}

async fn table(jobs: &Jobs, tenant: &str) -> Result<All, Fault> {
    let list = jobs.recurring_list().await?;
    let rows = list.into_iter().map(|job| {
        let recurs = Recurs { tenant: tenant.to_owned(), name: job.name.clone() };
        Row::of(&recurs, job.into())
    });
    Ok(All { rows: rows.collect() })
}

pub(super) async fn page(OfRecurring { recurs, .. }: OfRecurring) -> Response {
    render(&Page { recurs })
}

/// The part of the page that it fetches again and again.
pub(super) async fn now(
    OfRecurring { at, recurs, .. }: OfRecurring,
    Asked(seen): Asked<Seen>,
) -> Response {
    let again = Again { url: recurs.at("/now"), every: "2s", target: "now" };
    let found = at.look().await.map_err(Fault::from);
    let part = found.map(|found| {
        let row = found.map(|job| Row::of(&recurs, job.into()));
        Now {
            switch: recurs.switch(row.as_ref().is_some_and(|row| row.is_paused)),
            fire: recurs.at("/fire"),
            drop: recurs.at("/drop"),
            row,
        }
    });
    live(part, again, &seen)
}

/// What there is, or the reason why nothing can be done with it.
async fn there(at: &RecurringAt) -> Result<RecurringBody, Fault> {
    let found = at.look().await?;
    found.map(RecurringBody::from).ok_or_else(gone)
}

/// Notes what is about to be done, as over HTTP.
pub(super) async fn note(
    hub: &Hub,
    recurs: &Recurs,
    actor: &Actor,
    entry: Entry,
) -> Result<(), Fault> {
    let Entry { act, what, before, after } = entry;
    confirm::note(hub, &recurs.tenant, actor, act, what, before, after).await
}

fn gone() -> Fault {
    Fault::part("there is no such recurring job any more")
}

/// The second thought.
pub(super) async fn confirm_switch(
    OfRecurring { at, recurs, .. }: OfRecurring,
    Asked(Switch { pause }): Asked<Switch>,
) -> Result<Response, Fault> {
    there(&at).await?;
    let name = recurs.in_words();
    let question = match pause {
        true => format!("Pause recurring job {name}? It makes no jobs until it is resumed."),
        false => format!(
            "Resume recurring job {name}? It makes jobs from its next tick on; those while it was paused are passed over."
        ),
    };
    Ok(render(&Confirm {
        question,
        act: if pause { "Pause it" } else { "Resume it" },
        method: "put",
        to: recurs.switch(!pause),
        is_danger: pause,
        target: "asked",
        from: "switch",
    }))
}

pub(super) async fn switch(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfRecurring { at, recurs, .. }: OfRecurring,
    Asked(Switch { pause }): Asked<Switch>,
) -> Result<Response, Fault> {
    let before = there(&at).await?;
    // What is so already is not noted.
    if before.paused != pause {
        note(&hub, &recurs, &actor, Entry::switch(&before, pause)).await?;
        let was_there = if pause { at.pause().await? } else { at.resume().await? };
        if !was_there {
            return Err(gone());
        }
        let (name, tenant, by) = (recurs.name.as_str(), recurs.tenant(), actor.by("dashboard"));
        tracing::warn!(
            recurring = name,
            tenant,
            pause,
            by,
            "a recurring job was switched on the dashboard"
        );
    }
    let now = there(&at).await?;
    let is = if now.paused { "paused" } else { "resumed" };
    let page = Switched {
        said: format!("Recurring job {} is {is}.", recurs.in_words()),
        revision: now.revision,
        is_paused: now.paused,
    };
    Ok((SWITCHED, render(&page)).into_response())
}

/// The second thought: what is made.
pub(super) async fn confirm_fire(
    OfRecurring { at, recurs, .. }: OfRecurring,
) -> Result<Response, Fault> {
    let RecurringBody { kind, queue, .. } = there(&at).await?;
    let name = recurs.in_words();
    Ok(render(&Confirm {
        question: format!(
            "Fire {name} now? It makes one {kind} in queue {queue}, beside those of its ticks, also where the last one has not ended."
        ),
        act: "Fire it",
        method: "put",
        to: recurs.at("/fire"),
        is_danger: false,
        target: "asked",
        from: "fire",
    }))
}

pub(super) async fn fire(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfRecurring { at, recurs, .. }: OfRecurring,
) -> Result<Response, Fault> {
    let before = there(&at).await?;
    note(&hub, &recurs, &actor, Entry::fire(&before)).await?;
    let fired: JobId = at.fire_now().await?.ok_or_else(gone)?.id();
    let (name, tenant, by) = (recurs.name.as_str(), recurs.tenant(), actor.by("dashboard"));
    tracing::info!(recurring = name, tenant, id = %fired, by, "a recurring job was fired on the dashboard");
    Ok(done_with("Fired:", &recurs.queue(&before.queue), fired))
}

/// The second thought.
pub(super) async fn confirm_drop(
    OfRecurring { at, recurs, .. }: OfRecurring,
) -> Result<Response, Fault> {
    there(&at).await?;
    let name = recurs.in_words();
    Ok(render(&Confirm {
        question: format!("Drop recurring job {name}? The jobs that it has made stay."),
        act: "Drop it",
        method: "delete",
        to: recurs.at("/drop"),
        is_danger: true,
        target: "asked",
        from: "drop",
    }))
}

pub(super) async fn drop(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfRecurring { at, recurs, .. }: OfRecurring,
) -> Result<Response, Fault> {
    let before = there(&at).await?;
    note(&hub, &recurs, &actor, Entry::remove(&before)).await?;
    if !at.drop().await? {
        return Err(gone());
    }
    let (name, tenant, by) = (recurs.name.as_str(), recurs.tenant(), actor.by("dashboard"));
    tracing::warn!(recurring = name, tenant, by, "a recurring job was removed on the dashboard");
    Ok((GONE, render(&Dropped { name: recurs.in_words() })).into_response())
}

impl Row {
    fn of(recurs: &Recurs, job: RecurringBody) -> Self {
        let zone = job.tz.as_deref().unwrap_or(UTC);
        let whose = recurs.queue(&job.queue);
        let last_job = job.last_job.as_deref().and_then(|id| {
            let id: JobId = id.parse().ok()?;
            Some((whose.job(&id, ""), id.to_string()))
        });
        Self {
            to: recurs.at(""),
            queue_to: whose.at(""),
            schedule: schedule_in_words(&job),
            missed: word(job.missed),
            overlap: word(job.overlap),
            is_paused: job.paused,
            next: job.next.iter().map(|at| in_zone(*at, zone)).collect(),
            last_tick: in_zone(job.last_tick, zone),
            last_job,
            name: job.name,
            queue: job.queue,
            kind: visible(&job.kind),
        }
    }
}

/// When it recurs.
fn schedule_in_words(job: &RecurringBody) -> String {
    match (&job.cron, &job.every) {
        (Some(cron), _) => {
            format!("{} in {}", visible(cron), visible(job.tz.as_deref().unwrap_or(UTC)))
        }
        (None, Some(every)) => format!("every {every}"),
        (None, None) => "not known to this hub: another version, or another time zone".to_owned(),
    }
}

/// A policy, as it is called over HTTP.
pub(super) fn word(policy: impl serde::Serialize) -> String {
    let word = serde_json::to_value(policy).ok();
    word.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// By the clock on the wall of a zone.
pub(super) fn in_zone(at: Timestamp, zone: &str) -> String {
    at.in_tz(zone)
        .map_or_else(|_| at.to_string(), |at| at.strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string())
}

#[cfg(test)]
mod tests {
    use sinew::job::{Dst, Missed};

    use super::*;

    #[test]
    fn a_tick_is_told_by_its_own_clock() {
        let of = |at: &str, zone| in_zone(at.parse().unwrap(), zone);
        assert_eq!(of("2026-03-29T01:00:00Z", "Europe/Berlin"), "Sun 2026-03-29 03:00:00 CEST");
        assert_eq!(of("2026-03-28T01:00:00Z", "Europe/Berlin"), "Sat 2026-03-28 02:00:00 CET");
        assert_eq!(of("2026-03-28T01:00:00Z", "Nowhere/Else"), "2026-03-28T01:00:00Z");
    }

    #[test]
    fn a_policy_is_called_as_over_http() {
        assert_eq!(
            (word(Dst::RunTwice).as_str(), word(Missed::FireOnce).as_str()),
            ("run-twice", "fire-once")
        );
    }
}
