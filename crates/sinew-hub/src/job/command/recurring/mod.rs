//! `sinew job recurring …`

mod next;
mod put;

use std::time::SystemTime;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use serde_json::value::RawValue;
use sinew::Jobs;

use super::place::{Place, ask, failed, get, recurring_place};
use crate::cli::confirm::{Consent, consent};
use crate::cli::place::AtHub;
use crate::cli::request::read_reply;
use crate::cli::table::{cut, harmless, table};
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::shown;
use crate::job::body::{EnqueuedJobBody, RecurringBody};
use crate::session::between;
use next::NextArgs;
use put::PutArgs;

/// What a table shows of a queue's name.
const QUEUE_WIDTH: usize = 16;
/// What a table shows of a schedule.
const SCHEDULE_WIDTH: usize = 30;

/// Look at jobs that recur, define them, and have them run.
#[derive(Subcommand)]
pub enum RecurringCommand {
    /// List recurring jobs
    #[command(after_help = "Example:\n  sinew job recurring list --tenant acme")]
    List(ListArgs),
    /// Show one, with its next five ticks
    #[command(after_help = "Example:\n  sinew job recurring show nightly --json")]
    Show(NameArgs),
    /// Define one, or change what is said of it
    #[command(after_help = "\
With another schedule it begins anew: no tick before now makes a job.

Examples:
  sinew job recurring put nightly --kind cleanup --payload '{\"days\": 30}' \\
      --cron '0 2 * * *' --tz Europe/Berlin
  sinew job recurring put nightly --overlap replace --missed skip")]
    Put(Box<PutArgs>),
    /// Remove one; the jobs that it has made stay
    #[command(after_help = "Example:\n  sinew job recurring drop nightly --yes")]
    Drop(DropArgs),
    /// Make a job now, beside those of its ticks
    #[command(after_help = "Example:\n  sinew job recurring fire nightly")]
    Fire(NameArgs),
    /// Have one make no jobs until it is resumed
    Pause(NameArgs),
    /// Have one make jobs again, with the next tick
    Resume(NameArgs),
    /// Print the next ticks of a schedule, without asking anyone
    #[command(after_help = "\
Examples:
  sinew job recurring next '30 2 * * *' --tz Europe/Berlin --count 10
  sinew job recurring next '@monthly'
  sinew job recurring next --every 15m")]
    Next(NextArgs),
}

/// Whose recurring jobs.
#[derive(Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which recurring job.
#[derive(Args)]
pub struct NameArgs {
    /// Name of the recurring job
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which recurring job.
#[derive(Args)]
pub struct DropArgs {
    /// Name of the recurring job
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

impl RecurringCommand {
    pub(super) async fn run(&self) -> Result<(), Outcome> {
        match self {
            Self::List(args) => list(args).await,
            Self::Show(args) => show(args).await,
            Self::Put(args) => put::put(args).await,
            Self::Drop(args) => drop_one(args).await,
            Self::Fire(args) => fire(args).await,
            Self::Pause(args) => switch(args, "pause", "Paused").await,
            Self::Resume(args) => switch(args, "resume", "Resumed").await,
            Self::Next(args) => next::next(args),
        }
    }
}

async fn list(args: &ListArgs) -> Result<(), Outcome> {
    let place = recurring_place(&args.whose).await?;
    let all: Vec<RecurringBody> = match &place {
        Place::Redis(jobs, _) => {
            let all = jobs.recurring_list().await.map_err(failed)?;
            all.into_iter().map(RecurringBody::from).collect()
        }
        Place::Hub(hub) => get(&hub.request(&[])?).await?,
    };
    if args.json {
        return print_json(&all);
    }
    if all.is_empty() {
        println!("No recurring job{} in {place}.", args.whose.shown());
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<[String; 4]> = all.iter().map(|job| row(job, now)).collect();
    print!("{}", table(["NAME", "QUEUE", "SCHEDULE", "NEXT IN"], &rows));
    Ok(())
}

fn row(job: &RecurringBody, now: Timestamp) -> [String; 4] {
    let next = match (job.paused, job.next.first()) {
        (true, _) => "paused".to_owned(),
        (false, Some(at)) => shown(between(now, *at)),
        (false, None) => "–".to_owned(),
    };
    let schedule = cut(&schedule_in_words(job), SCHEDULE_WIDTH);
    [job.name.clone(), cut(&job.queue, QUEUE_WIDTH), schedule, next]
}

/// `0 2 * * * Europe/Berlin`, or `every 15m`.
fn schedule_in_words(job: &RecurringBody) -> String {
    match (&job.cron, &job.every) {
        (Some(cron), _) => format!("{cron} {}", job.tz.as_deref().unwrap_or("UTC")),
        (None, Some(every)) => format!("every {every}"),
        (None, None) => "unknown here".to_owned(),
    }
}

async fn show(args: &NameArgs) -> Result<(), Outcome> {
    let place = recurring_place(&args.whose).await?;
    let job = found(&place, &args.name).await?.ok_or_else(|| no_such(&args.name))?;
    if args.json {
        return print_json(&job);
    }
    for line in in_words(&job) {
        println!("{}", harmless(&line));
    }
    Ok(())
}

fn in_words(job: &RecurringBody) -> Vec<String> {
    let paused = if job.paused { ", paused" } else { "" };
    let key = job.key.as_ref().map(|key| format!(", of key {key}")).unwrap_or_default();
    let payload = job.payload.as_deref().map_or("null", RawValue::get);
    let mut lines = vec![
        format!("{}: {} in queue {:?}{paused}", job.name, job.kind, job.queue),
        format!("schedule   {}", schedule_in_words(job)),
        format!("policies   missed {}, overlap {}", said(&job.missed), said(&job.overlap)),
        format!("jobs       of priority {}{key}", job.priority.unwrap_or(5)),
        format!("payload    {payload}"),
        // No tick at first, but when it was defined.
        format!("ticks      over until {}", job.last_tick),
    ];
    if let Some(dst) = &job.dst {
        lines[2].push_str(&format!(", clock put forward or back {}", said(dst)));
    }
    if let Some(id) = &job.last_job {
        lines.push(format!("last job   {id}"));
    }
    lines.extend(job.next.iter().map(|at| format!("next       {at}")));
    lines
}

/// A policy, as it is called in JSON.
fn said(policy: &impl serde::Serialize) -> String {
    json!(policy).as_str().unwrap_or_default().to_owned()
}

/// One that is defined, if it is.
async fn found(place: &Place, name: &str) -> Result<Option<RecurringBody>, Outcome> {
    let hub = match place {
        Place::Redis(jobs, _) => {
            let job = jobs.recurring_at(name).look().await.map_err(failed)?;
            return Ok(job.map(RecurringBody::from));
        }
        Place::Hub(hub) => hub,
    };
    match get(&hub.request(&[name])?).await {
        Ok(job) => Ok(Some(job)),
        Err(Outcome::NoSuchJob(_)) => Ok(None),
        Err(outcome) => Err(outcome),
    }
}

fn no_such(name: &str) -> Outcome {
    Outcome::NoSuchJob(format!(
        "no recurring job {name:?}: expected one of `sinew job recurring list`"
    ))
}

async fn drop_one(args: &DropArgs) -> Result<(), Outcome> {
    let place = recurring_place(&args.whose).await?;
    let what = format!("recurring job {:?}{} in {place}", args.name, args.whose.shown());
    found(&place, &args.name).await?.ok_or_else(|| no_such(&args.name))?;
    consent(Consent::of(args.yes), &format!("Remove {what}?"))?;
    match &place {
        Place::Redis(jobs, _) => {
            let was_there = jobs.recurring_at(&args.name).drop().await.map_err(failed)?;
            there(was_there, &args.name)?;
        }
        Place::Hub(hub) => {
            ask(&hub.request(&[&args.name])?, Method::DELETE, None).await?;
        }
    }
    match args.json {
        true => print_json(&json!({ "removed": true }))?,
        false => println!("Removed {what}; the jobs that it has made stay."),
    }
    Ok(())
}

async fn fire(args: &NameArgs) -> Result<(), Outcome> {
    let fired = match &recurring_place(&args.whose).await? {
        Place::Redis(jobs, _) => {
            let fired = jobs.recurring_at(&args.name).fire_now().await.map_err(failed)?;
            let fired = fired.as_ref().map(EnqueuedJobBody::from);
            fired.ok_or_else(|| no_such(&args.name))?
        }
        Place::Hub(hub) => read_reply(&acted(hub, &args.name, "fire").await?)?,
    };
    match args.json {
        true => print_json(&fired)?,
        false => println!("{}", fired.id),
    }
    Ok(())
}

async fn switch(args: &NameArgs, act: &str, done: &str) -> Result<(), Outcome> {
    let place = recurring_place(&args.whose).await?;
    match &place {
        Place::Redis(jobs, _) => there(switched(jobs, &args.name, act).await?, &args.name)?,
        Place::Hub(hub) => {
            acted(hub, &args.name, act).await?;
        }
    }
    match args.json {
        true => print_json(&found(&place, &args.name).await?)?,
        false => println!("{done} recurring job {:?}{}.", args.name, args.whose.shown()),
    }
    Ok(())
}

/// Whether it is there.
async fn switched(jobs: &Jobs, name: &str, act: &str) -> Result<bool, Outcome> {
    let at = jobs.recurring_at(name);
    let switched = if act == "pause" { at.pause().await } else { at.resume().await };
    switched.map_err(failed)
}

async fn acted(hub: &AtHub, name: &str, act: &str) -> Result<String, Outcome> {
    let acted = ask(&hub.request(&[name, act])?, Method::POST, Some("{}".to_owned())).await;
    acted.map_err(|outcome| match outcome {
        Outcome::NoSuchJob(_) => no_such(name),
        other => other,
    })
}

fn there(was_there: bool, name: &str) -> Result<(), Outcome> {
    if was_there { Ok(()) } else { Err(no_such(name)) }
}

/// A tick, as the library tells it.
fn tick(at: SystemTime) -> Timestamp {
    crate::stream::body::time(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn nightly() -> RecurringBody {
        let json = json!({
            "name": "nightly", "revision": 7, "queue": "default", "kind": "cleanup",
            "payload": {"days": 30}, "cron": "0 2 * * *", "tz": "Europe/Berlin", "dst": "run-once",
            "every": null, "missed": "fire-once", "overlap": "skip", "priority": null, "key": null,
            "paused": false, "last_tick": "2026-01-31T01:00:00Z", "last_job": null,
            "next": ["2026-02-01T01:00:00Z"]
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_recurring_job_is_told_in_words() {
        let now = "2026-02-01T00:59:00Z".parse().unwrap();
        let expected = ["nightly", "default", "0 2 * * * Europe/Berlin", "1 min 0 s"];
        assert_eq!(row(&nightly(), now), expected);
        let paused = RecurringBody { paused: true, ..nightly() };
        assert_eq!(row(&paused, now)[3], "paused");
        let told = in_words(&nightly()).join("\n");
        for line in [
            "nightly: cleanup in queue \"default\"\n",
            "policies   missed fire-once, overlap skip, clock put forward or back run-once\n",
            "jobs       of priority 5\n",
            "payload    {\"days\":30}\n",
            "ticks      over until 2026-01-31T01:00:00Z\n",
            "next       2026-02-01T01:00:00Z",
        ] {
            assert!(told.contains(line), "{line:?} in {told}");
        }
    }
}
