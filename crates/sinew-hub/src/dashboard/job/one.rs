//! One job: what became of it so far, what it was given, how far it is, and what it brought.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use sinew::job::{Cancelled, JobId, JobInfo, JobState, QueueHandle};

use super::confirm::{Confirm, done, note};
use super::extract::{OfJob, Recurs, Whose};
use super::indented;
use super::live::{Again, Seen, live};
use super::shelf::percent;
use super::timeline::{Step, steps};
use super::workers::name_workers;
use crate::auth::Actor;
use crate::dashboard::extract::{Asked, OurPage};
use crate::dashboard::show::{Fault, render, time, visible};
use crate::hub::Hub;
use crate::job::audit::Act;
use crate::job::terms::name_of;

#[derive(Template)]
#[template(path = "job.html")]
struct Page {
    whose: Whose,
    id: String,
    now: String,
    acts: String,
    payload: String,
}

#[derive(Template)]
#[template(path = "job_now.html")]
struct Now {
    kind: String,
    state: &'static str,
    progress: Option<Progress>,
    steps: Vec<Step>,
    /// What is known of it, each under its title.
    facts: Vec<(&'static str, String)>,
    /// Links, each with its title, its address and its words.
    links: Vec<(&'static str, String, String)>,
    log: Vec<(String, String)>,
    result: Option<String>,
}

struct Progress {
    done: u64,
    total: u64,
    percent: String,
    text: String,
}

#[derive(Template)]
#[template(path = "job_acts.html")]
struct Acts {
    cancel: Option<String>,
    retry: Option<String>,
    drop: Option<String>,
}

#[derive(Template)]
#[template(path = "job_payload.html")]
struct Payload {
    payload: Option<String>,
}

pub(super) async fn page(OfJob { whose, id, .. }: OfJob) -> Response {
    render(&Page {
        id: id.to_string(),
        now: whose.job(&id, "/now"),
        acts: whose.job(&id, "/acts"),
        payload: whose.job(&id, "/payload"),
        whose,
    })
}

/// The part of the page that it fetches again and again, as long as the job may come on.
pub(super) async fn now(OfJob { queue, whose, id }: OfJob, Asked(seen): Asked<Seen>) -> Response {
    let url = whose.job(&id, "/now");
    let found = with_worker(&queue, id).await;
    until_over(found, |job| Now::of(&whose, job), Again { url, every: "1s", target: "now" }, &seen)
}

async fn with_worker(queue: &QueueHandle, id: JobId) -> sinew::Result<Option<JobInfo>> {
    let Some(mut job) = queue.find(id).await? else { return Ok(None) };
    name_workers(queue, std::slice::from_mut(&mut job)).await?;
    Ok(Some(job))
}

/// What can be done with it: apart from what changes by the second.
pub(super) async fn acts(OfJob { queue, whose, id }: OfJob, Asked(seen): Asked<Seen>) -> Response {
    let url = whose.job(&id, "/acts");
    let found = match queue.find(id).await {
        // The part beside it says so.
        Ok(None) => return render(&Acts { cancel: None, retry: None, drop: None }),
        found => found,
    };
    let acts = |job: JobInfo| {
        let is_dead = job.state == JobState::Dead;
        let of_dead = |act| is_dead.then(|| whose.with(act, &[("id", &id.to_string())]));
        let is_over = is_dead || job.state == JobState::Done;
        Acts {
            cancel: (!is_over).then(|| whose.job(&id, "/cancel")),
            retry: of_dead("/dead/retry"),
            drop: of_dead("/dead/drop"),
        }
    };
    until_over(found, acts, Again { url, every: "1s", target: "acts" }, &seen)
}

/// What is over is not asked for again: to find that a job was done, all that were is gone through.
fn until_over<T: Template>(
    found: sinew::Result<Option<JobInfo>>,
    part: impl FnOnce(JobInfo) -> T,
    again: Again,
    seen: &Seen,
) -> Response {
    match found {
        Ok(Some(job)) if job.state == JobState::Done => render(&part(job)),
        Ok(Some(job)) => live(Ok(part(job)), again, seen),
        Ok(None) => Fault::part(
            "there is no such job: it was cancelled or dropped, or was done and is forgotten, or never was",
        )
        .into_response(),
        Err(error) => live(Err::<T, _>(error.into()), again, seen),
    }
}

/// It does not change.
pub(super) async fn payload(OfJob { queue, id, .. }: OfJob) -> Result<Response, Fault> {
    let payload = queue.find(id).await?.and_then(|job| job.payload);
    Ok(render(&Payload { payload: payload.map(|payload| indented::shown(&payload)) }))
}

/// The second thought.
pub(super) async fn confirm_cancel(OfJob { queue, whose, id }: OfJob) -> Result<Response, Fault> {
    let job = queue.find(id).await?.ok_or_else(gone)?;
    let what = match job.state {
        JobState::Done | JobState::Dead => return Err(Fault::part("it has ended already")),
        JobState::Running => {
            "It runs: its handler is told within a second, and what it says does not count."
        }
        JobState::Waiting | JobState::Scheduled => "It does not run, and will not.",
    };
    Ok(render(&Confirm {
        question: format!("Cancel job {id} of queue {}? {what}", whose.in_words()),
        act: "Cancel it",
        method: "delete",
        to: whose.job(&id, "/cancel"),
        is_danger: true,
        target: "asked",
        from: "cancel",
    }))
}

pub(super) async fn cancel(
    State(hub): State<Hub>,
    _: OurPage,
    actor: Actor,
    OfJob { queue, whose, id }: OfJob,
) -> Result<Response, Fault> {
    let before = queue.find(id).await?.ok_or_else(gone)?;
    let what = json!({ "queue": whose.queue, "job": id });
    let was = json!({ "state": name_of(before.state) });
    note(&hub, &whose.tenant, &actor, Act::Cancel, what, was, Value::Null).await?;
    let said = match queue.cancel(id).await? {
        Cancelled::Waiting | Cancelled::Scheduled => "It is cancelled: it did not run.",
        Cancelled::Running => "It is cancelled: its handler is being told.",
        Cancelled::Ended => "It had ended before.",
        Cancelled::Unknown => return Err(gone()),
    };
    let (queue, tenant, by) = (whose.queue.as_str(), whose.tenant(), actor.by("dashboard"));
    tracing::warn!(%id, queue, tenant, by, "a job was cancelled on the dashboard");
    Ok(done(said))
}

fn gone() -> Fault {
    Fault::part("there is no such job any more")
}

impl Now {
    fn of(whose: &Whose, job: JobInfo) -> Self {
        let log = job.log.iter().map(|(at, line)| (time(*at), visible(line)));
        Self {
            kind: visible(&job.kind),
            state: name_of(job.state),
            steps: steps(&job),
            facts: facts(&job),
            links: links(whose, &job),
            log: log.collect(),
            result: job.result.as_deref().map(indented::shown),
            progress: job.progress.map(|progress| Progress {
                percent: percent(progress.done, progress.total),
                done: progress.done.min(progress.total),
                total: progress.total,
                text: visible(&progress.text),
            }),
        }
    }
}

fn facts(job: &JobInfo) -> Vec<(&'static str, String)> {
    let all = [
        ("Priority", Some(job.priority.to_string())),
        ("Key", job.key.as_deref().map(visible)),
        ("Unique name", job.is_unique.then(|| "it has one".to_owned())),
        ("Attempts at most", job.attempts.map(|attempts| attempts.to_string())),
        ("Failed", Some(job.failures.to_string())),
        ("Put off", (job.snoozes > 0).then(|| job.snoozes.to_string())),
        ("Ended with its process", (job.crashes > 0).then(|| job.crashes.to_string())),
        ("Batch", job.batch.map(|batch| batch.to_string())),
        ("Trace", job.traceparent.as_deref().map(trace)),
    ];
    all.into_iter().filter_map(|(title, fact)| Some((title, fact?))).collect()
}

fn links(whose: &Whose, job: &JobInfo) -> Vec<(&'static str, String, String)> {
    let recurring = job.recurring.as_ref().map(|name| {
        let recurs = Recurs { tenant: whose.tenant.clone(), name: name.clone() };
        ("Recurring job", recurs.at(""), visible(name))
    });
    recurring.into_iter().collect()
}

/// The trace that enqueued it, as tracing systems are asked for it.
fn trace(traceparent: &str) -> String {
    let mut parts = traceparent.split('-');
    let id = parts.nth(1).filter(|id| id.len() == 32).unwrap_or(traceparent);
    visible(id)
}

#[cfg(test)]
mod tests {
    use super::trace;

    #[test]
    fn a_trace_is_told_by_its_id() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace(&format!("00-{id}-b7ad6b7169203331-01")), id);
        assert_eq!(trace("none\n"), "none\\n");
    }
}
