//! `sinew job enqueue`

use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde::Serialize;
use serde_json::value::RawValue;
use sinew::Jobs;
use sinew::job::{Enqueued, JobId, NewJob, OnConflict, Unique};

use super::place::{Place, ask, failed, place};
use crate::cli::input::{self, Line};
use crate::cli::place::AtHub;
use crate::cli::request::read_reply;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::{parse, written};
use crate::job::body::{EnqueuedBody, EnqueuedJobBody};
use crate::job::terms;

/// What a payload may look like, for messages.
const LIKE: &str = r#"{"to": "ada"}"#;

/// Which job, and where to.
#[derive(Args)]
pub struct EnqueueArgs {
    /// Name of the queue
    queue: String,
    /// Which handler it is for, like email.send
    kind: String,
    /// What the handler is given, as JSON; - reads it from standard input. Or --batch
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    payload: Option<String>,
    #[command(flatten)]
    how: HowArgs,
    /// What it is called: 26 characters; one that is there already is not enqueued again [default: drawn]
    #[arg(long, value_parser = terms::id, conflicts_with = "batch")]
    id: Option<JobId>,
    /// Read jobs from standard input, the payload of one a line
    #[arg(long)]
    batch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// How it is to be run.
#[derive(Args)]
struct HowArgs {
    /// When it is to run: from now, like 10m
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse)]
    delay: Option<Duration>,
    /// The same, as a time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = terms::time, conflicts_with = "delay")]
    at: Option<Timestamp>,
    /// 0 to 9; 9 is first [default: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// Jobs of one key have a limit of their own, and take turns with those of others
    #[arg(long)]
    key: Option<String>,
    /// A name that one job has at a time; in a batch, with the number of the line
    #[arg(long, value_name = "NAME")]
    unique: Option<String>,
    /// For how long that name counts, although its job has ended
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse, requires = "unique")]
    within: Option<Duration>,
    /// Take the place of the job that has the name, if it has not begun [default: enqueue nothing]
    #[arg(long, requires = "unique")]
    replace: bool,
    /// How often its handler is called at most [default: as its worker says]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1000))]
    attempts: Option<u32>,
    /// For how long its handler may run [default: as its worker says]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse)]
    timeout: Option<Duration>,
    /// For how long it is kept once it is done, with its payload, log and result [default: not at all]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse)]
    retain: Option<Duration>,
    /// The span that enqueues it, of W3C's Trace Context
    #[arg(long, value_name = "TEXT")]
    traceparent: Option<String>,
}

/// A job, as a hub takes it.
#[derive(Serialize)]
struct JobToSend<'a> {
    kind: &'a str,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_conflict: Option<OnConflict>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retain: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

impl EnqueueArgs {
    /// Its unique name; of a batch, that of a line.
    fn unique(&self, line: Option<usize>) -> Option<String> {
        let name = self.how.unique.as_ref()?;
        Some(line.map_or_else(|| name.clone(), |line| format!("{name}.{line}")))
    }

    fn on_conflict(&self) -> OnConflict {
        if self.how.replace { OnConflict::Replace } else { OnConflict::Skip }
    }

    /// For Redis.
    fn job(&self, payload: &RawValue, line: Option<usize>) -> NewJob {
        let how = &self.how;
        let unique = self.unique(line).map(|name| {
            let unique = Unique::by(name).on_conflict(self.on_conflict());
            match how.within {
                Some(window) => unique.within(window),
                None => unique,
            }
        });
        NewJob {
            id: self.id,
            priority: how.priority,
            key: how.key.clone(),
            unique,
            delay: how.delay,
            at: how.at.map(SystemTime::from),
            attempts: how.attempts,
            timeout: how.timeout,
            retain: how.retain,
            traceparent: how.traceparent.clone(),
            ..NewJob::new(self.kind.as_str(), payload.get().to_owned())
        }
    }

    /// For a hub.
    fn to_send<'a>(&'a self, payload: &'a RawValue, line: Option<usize>) -> JobToSend<'a> {
        let how = &self.how;
        JobToSend {
            kind: &self.kind,
            payload,
            id: self.id,
            delay: how.delay.map(written),
            at: how.at,
            priority: how.priority,
            key: how.key.as_deref(),
            unique: self.unique(line),
            within: how.within.map(written),
            on_conflict: how.unique.is_some().then(|| self.on_conflict()),
            attempts: how.attempts,
            timeout: how.timeout.map(written),
            retain: how.retain.map(written),
            traceparent: how.traceparent.as_deref(),
        }
    }
}

pub(super) async fn enqueue(args: &EnqueueArgs) -> Result<(), Outcome> {
    let Some(payload) = &args.payload else { return batch(args).await };
    let payload = input::read(payload, LIKE)?;
    let enqueued = match &place(&args.whose).await? {
        Place::Redis(jobs, _) => {
            let job = args.job(&payload, None);
            let enqueued = jobs.enqueue_raw(&args.queue, job).await.map_err(failed)?;
            told(&[enqueued])
        }
        Place::Hub(hub) => at_hub(hub, args, &args.to_send(&payload, None)).await?,
    };
    if args.json {
        return print_json(&EnqueuedBody { jobs: enqueued });
    }
    print(&enqueued);
    Ok(())
}

/// What was enqueued is told also where the rest was not.
async fn batch(args: &EnqueueArgs) -> Result<(), Outcome> {
    // All are read before the first is enqueued.
    let lines = input::lines(LIKE).map_err(|outcome| match outcome {
        Outcome::BadInput(what) => Outcome::BadInput(nothing_of(&what)),
        other => other,
    })?;
    if lines.is_empty() {
        return Err(Outcome::BadInput(
            "no job on standard input: expected the payload of one a line".to_owned(),
        ));
    }
    let place = place(&args.whose).await?;
    let (mut enqueued, mut ended) = (Vec::with_capacity(lines.len()), Ok(()));
    for some in input::batches(&lines) {
        match send(&place, args, some).await {
            Ok(jobs) => {
                if !args.json {
                    print(&jobs);
                }
                enqueued.extend(jobs);
            }
            Err(outcome) => {
                ended = Err(broken_off(args, outcome, some, &enqueued));
                break;
            }
        }
    }
    if args.json {
        print_json(&EnqueuedBody { jobs: enqueued })?;
    }
    ended
}

async fn send(
    place: &Place,
    args: &EnqueueArgs,
    lines: &[Line],
) -> Result<Vec<EnqueuedJobBody>, Outcome> {
    match place {
        Place::Redis(jobs, _) => in_redis(jobs, args, lines).await,
        Place::Hub(hub) => {
            let jobs = lines.iter().map(|line| args.to_send(&line.data, Some(line.number)));
            at_hub(hub, args, &jobs.collect::<Vec<_>>()).await
        }
    }
}

async fn in_redis(
    jobs: &Jobs,
    args: &EnqueueArgs,
    lines: &[Line],
) -> Result<Vec<EnqueuedJobBody>, Outcome> {
    let many = lines.iter().map(|line| args.job(&line.data, Some(line.number))).collect();
    jobs.enqueue_many_raw(&args.queue, many).await.map(|all| told(&all)).map_err(failed)
}

/// One job, or a list of them.
async fn at_hub(
    hub: &AtHub,
    args: &EnqueueArgs,
    jobs: &impl Serialize,
) -> Result<Vec<EnqueuedJobBody>, Outcome> {
    let body = serde_json::to_string(jobs).map_err(|e| Outcome::Failed(e.to_string()))?;
    let request = hub.request(&[&args.queue, "jobs"])?;
    let text = ask(&request, Method::POST, Some(body)).await?;
    read_reply::<EnqueuedBody>(&text).map(|reply| reply.jobs)
}

/// How far it came, and how to go on: not with the same where that is refused for good.
fn broken_off(
    args: &EnqueueArgs,
    outcome: Outcome,
    lines: &[Line],
    enqueued: &[EnqueuedJobBody],
) -> Outcome {
    let first = lines.first().map_or(0, |line| line.number);
    let last = lines.last().map_or(0, |line| line.number);
    match outcome {
        Outcome::Failed(what) => {
            let then = match args.how.unique {
                Some(_) => {
                    "; the same again enqueues the rest, and those that have ended where --within does not say otherwise"
                }
                None => "",
            };
            Outcome::Failed(format!(
                "{what}\nlines before {first} are enqueued, of {first} to {last} some may be{then}"
            ))
        }
        Outcome::BadInput(what) if enqueued.is_empty() => Outcome::BadInput(nothing_of(&what)),
        Outcome::BadInput(what) => Outcome::BadInput(format!(
            "{what}\nlines before {first} are enqueued, line {first} and those after it are not"
        )),
        other => other,
    }
}

/// What is wrong, where it was found out before anything was enqueued.
fn nothing_of(what: &str) -> String {
    format!("{what}\nnothing was enqueued")
}

fn told(enqueued: &[Enqueued]) -> Vec<EnqueuedJobBody> {
    enqueued.iter().map(EnqueuedJobBody::from).collect()
}

fn print(enqueued: &[EnqueuedJobBody]) {
    for job in enqueued {
        println!("{}", in_words(job));
    }
}

fn in_words(job: &EnqueuedJobBody) -> String {
    match (&job.replaced, job.duplicate) {
        (Some(replaced), _) => format!("{} replaces {replaced}", job.id),
        (None, true) => format!("{} duplicate", job.id),
        (None, false) => job.id.clone(),
    }
}
