//! `sinew job show` and `sinew job cancel`

use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde::de::IgnoredAny;
use sinew::Jobs;
use sinew::job::JobId;

use super::place::{Place, ask, asking, failed, get, place, queue};
use crate::cli::place::AtHub;
use crate::cli::request::read_reply;
use crate::cli::table::harmless;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::{parse, shown};
use crate::job::body::{CancelledBody, JobBody, ProgressBody, RunBody};
use crate::job::terms;
use crate::session::between;

/// How long a hub waits for the end of a job at most.
const WAIT_AT_HUB_MAX: Duration = Duration::from_secs(30);

/// Which job.
#[derive(Args)]
pub struct ShowArgs {
    /// Name of the queue
    queue: String,
    /// What the job is called, like 01KAPX2V9QJ7M3B0N8R5T4W6YZ
    #[arg(value_parser = terms::id)]
    id: JobId,
    /// Wait for its end first, for so long at most, like 5m: what it is then says whether it has come
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse)]
    wait: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which jobs.
#[derive(Args)]
pub struct CancelArgs {
    /// Name of the queue
    queue: String,
    /// What the jobs are called, like 01KAPX2V9QJ7M3B0N8R5T4W6YZ
    #[arg(required = true, value_parser = terms::id)]
    ids: Vec<JobId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn show(args: &ShowArgs) -> Result<(), Outcome> {
    let job = match &place(&args.whose).await? {
        Place::Redis(jobs, _) => in_redis(jobs, args).await?,
        Place::Hub(hub) => at_hub(hub, args).await?,
    };
    if args.json {
        return print_json(&job);
    }
    print!("{}", harmless_lines(&in_words(&job, Timestamp::now())));
    Ok(())
}

async fn in_redis(jobs: &Jobs, args: &ShowArgs) -> Result<JobBody, Outcome> {
    let job = jobs.queue(&args.queue).job(args.id).map_err(failed)?;
    if let Some(wait) = args.wait {
        // Whatever its result is: it is read below.
        job.wait::<IgnoredAny>(wait).await.map_err(failed)?;
    }
    let found = job.find().await.map_err(failed)?;
    found.map(JobBody::from).ok_or_else(|| no_job(&args.queue, args.id))
}

/// A hub waits for half a minute at most, and is asked again.
async fn at_hub(hub: &AtHub, args: &ShowArgs) -> Result<JobBody, Outcome> {
    let (began, wait) = (Instant::now(), args.wait.unwrap_or_default());
    loop {
        let left = wait.saturating_sub(began.elapsed()).min(WAIT_AT_HUB_MAX);
        let said = (!left.is_zero()).then(|| format!("{}ms", left.as_millis().max(1)));
        let request = hub.request(&[&args.queue, "jobs", &args.id.to_string()])?;
        let mut request = asking(request, &[("wait", said.as_deref())]);
        request.patience += left;
        let job: JobBody = get(&request).await?;
        if ["done", "dead"].contains(&job.state.as_str()) || wait <= began.elapsed() {
            return Ok(job);
        }
    }
}

fn no_job(queue: &str, id: JobId) -> Outcome {
    Outcome::NoSuchJob(format!("no job {id} in queue {queue:?}, or not any more"))
}

/// Lines for people: what it is, how it stands, what became of it, and what it brought.
fn in_words(job: &JobBody, now: Timestamp) -> String {
    let reason = job.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let kind = if job.kind.is_empty() { "(unreadable)" } else { &job.kind };
    // What is one text is not to look like several.
    let indented = |text: String| text.replace('\n', "\n           ");
    let title = format!("{kind} in queue {:?} is {}{reason}", job.queue, job.state);
    let mut lines = vec![indented(title)];
    let mut say = |title: &str, text: String| {
        lines.push(format!("{title:<10} {}", indented(text)));
    };
    say("id", job.id.clone());
    let moments = [
        ("enqueued", job.enqueued_at),
        (title_of(&job.state), job.at.filter(|_| job.at != job.ended_at)),
        ("ended", job.ended_at),
    ];
    for (title, at) in moments {
        if let Some(at) = at {
            say(title, moment(at, now));
        }
    }
    if let Some(took_ms) = job.took_ms {
        say("took", format!("{took_ms} ms"));
    }
    if let Some(worker) = &job.worker {
        say("worker", worker.clone());
    }
    say("is", traits(job).join(", "));
    say(
        "tried",
        format!(
            "{} failed, {} put off, {} ended with their process",
            job.failures, job.snoozes, job.crashes
        ),
    );
    if let Some(progress) = &job.progress {
        say("progress", how_far(progress));
    }
    for run in &job.runs {
        say("run", run_in_words(run));
    }
    for line in &job.log {
        say("log", format!("{}  {}", line.at, line.text));
    }
    let payload = job.payload.as_ref().map(|payload| payload.get().to_owned());
    let others = job.payload_base64.as_ref().map(|base64| format!("{base64} (no JSON: base64)"));
    if let Some(payload) = payload.or(others) {
        say("payload", payload);
    }
    if let Some(result) = &job.result {
        say("result", result.get().to_owned());
    }
    lines.join("\n") + "\n"
}

/// What the moment of a job is, by its state.
fn title_of(state: &str) -> &'static str {
    match state {
        "scheduled" => "due",
        "dead" => "died",
        "done" => "kept until",
        _ => "at",
    }
}

fn moment(at: Timestamp, now: Timestamp) -> String {
    match at > now {
        true => format!("{at} (in {})", shown(between(now, at))),
        false => format!("{at} ({} ago)", shown(between(at, now))),
    }
}

fn traits(job: &JobBody) -> Vec<String> {
    let mut traits = vec![format!("of priority {}", job.priority)];
    let said = [
        ("of key", job.key.as_ref()),
        ("of batch", job.batch.as_ref()),
        ("made by recurring job", job.recurring.as_ref()),
        ("traced as", job.traceparent.as_ref()),
    ];
    traits.extend(said.into_iter().filter_map(|(what, name)| Some(format!("{what} {}", name?))));
    if job.unique {
        traits.push("unique".to_owned());
    }
    if let Some(attempts) = job.attempts {
        traits.push(format!("tried {attempts} times at most"));
    }
    traits
}

fn how_far(progress: &ProgressBody) -> String {
    let ProgressBody { done, total, text } = progress;
    let share = match total {
        0 => format!("{done}"),
        total => format!("{done} of {total} ({} %)", percent(*done, *total)),
    };
    if text.is_empty() { share } else { format!("{share}: {text}") }
}

/// How much of all is done, of more than nothing.
pub(super) fn percent(done: u64, total: u64) -> u64 {
    u64::try_from(u128::from(done.min(total)) * 100 / u128::from(total.max(1))).unwrap_or(100)
}

fn run_in_words(run: &RunBody) -> String {
    let took = match run.took_ms {
        ms @ 0..10_000 => format!("{ms} ms"),
        ms => shown(Duration::from_millis(ms)),
    };
    let what = run.error.as_deref().unwrap_or("put off");
    format!("{}  after {took} by {}: {what}", run.at, run.by)
}

/// Text with its ends of lines, and nothing else that a terminal obeys.
fn harmless_lines(text: &str) -> String {
    text.lines().map(|line| harmless(line) + "\n").collect()
}

pub(super) async fn cancel(args: &CancelArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    queue(&place, &args.queue).await?;
    let (mut cancelled, mut missing) = (Vec::with_capacity(args.ids.len()), Vec::new());
    for id in &args.ids {
        match cancelled_in(&place, &args.queue, *id).await {
            Ok(Some(body)) => {
                if !args.json {
                    println!("{}", told(&body));
                }
                cancelled.push(body);
            }
            Ok(None) => missing.push(id.to_string()),
            Err(outcome) => return Err(outcome),
        }
    }
    if args.json {
        print_json(&cancelled)?;
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Outcome::NoSuchJob(format!(
            "no job {} in queue {:?}, or not any more",
            missing.join(" "),
            args.queue
        ))),
    }
}

/// What it was; nothing where there is none.
async fn cancelled_in(
    place: &Place,
    queue: &str,
    id: JobId,
) -> Result<Option<CancelledBody>, Outcome> {
    let hub = match place {
        Place::Redis(jobs, _) => {
            let cancelled = jobs.queue(queue).cancel(id).await.map_err(failed)?;
            return Ok(CancelledBody::of(id, cancelled));
        }
        Place::Hub(hub) => hub,
    };
    let request = hub.request(&[queue, "jobs", &id.to_string()])?;
    match ask(&request, Method::DELETE, None).await {
        Ok(text) => read_reply(&text).map(Some),
        Err(Outcome::NoSuchJob(_)) => Ok(None),
        Err(outcome) => Err(outcome),
    }
}

fn told(body: &CancelledBody) -> String {
    let CancelledBody { id, was } = body;
    match was.as_str() {
        "waiting" | "scheduled" => format!("Cancelled job {id}, which did not run."),
        "running" => format!("Cancelled job {id}: its handler is told to stop."),
        _ => format!("Nothing was changed: job {id} had ended before."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::body::LineBody;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn job() -> JobBody {
        let json = r#"{"id": "01KAPX2V9QJ7M3B0N8R5T4W6YZ", "queue": "mail", "kind": "email.send",
            "state": "dead", "priority": 5, "key": "acme", "unique": true, "batch": null,
            "recurring": null, "traceparent": null, "attempts": 3, "failures": 2, "snoozes": 0,
            "crashes": 0, "enqueued_at": "1970-01-01T00:00:10Z", "at": "1970-01-01T00:00:40Z",
            "ended_at": null, "took_ms": null, "worker": null, "reason": "no route",
            "runs": [], "progress": null, "log": [], "payload": {"n": 1.10}, "result": null}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_job_is_told_with_what_became_of_it() {
        let run = RunBody { at: at(30), took_ms: 20, by: "host:1".to_owned(), error: None };
        let failed = RunBody { error: Some("no route".to_owned()), ..run.clone() };
        let log = vec![LineBody { at: at(29), text: "rendered\u{1b}[2J".to_owned() }];
        let progress = ProgressBody { done: 1, total: 3, text: "rendering".to_owned() };
        let key = Some("acme\nended      1970-01-01T00:00:01Z".to_owned());
        let reason = Some("no route\nended      now".to_owned());
        let job = JobBody { runs: vec![run, failed], log, key, reason, ..job() };
        let job = JobBody { progress: Some(progress), ..job };
        let told = harmless_lines(&in_words(&job, at(100)));
        for line in [
            "email.send in queue \"mail\" is dead: no route\n           ended      now\n",
            "enqueued   1970-01-01T00:00:10Z (1 min 30 s ago)\n",
            "died       1970-01-01T00:00:40Z (1 min 0 s ago)\n",
            "is         of priority 5, of key acme\n           ended      1970-01-01T00:00:01Z, unique, tried 3 times at most\n",
            "tried      2 failed, 0 put off, 0 ended with their process\n",
            "progress   1 of 3 (33 %): rendering\n",
            "run        1970-01-01T00:00:30Z  after 20 ms by host:1: put off\n",
            "run        1970-01-01T00:00:30Z  after 20 ms by host:1: no route\n",
            "payload    {\"n\": 1.10}\n",
        ] {
            assert!(told.contains(line), "{line:?} in {told}");
        }
        assert!(!told.contains('\u{1b}') && !told.contains("result"), "{told}");
    }

    #[test]
    fn what_has_no_total_has_no_share() {
        let of = |done, total| how_far(&ProgressBody { done, total, text: String::new() });
        assert_eq!((of(7, 0), of(7, 7)), ("7".to_owned(), "7 of 7 (100 %)".to_owned()));
        assert_eq!((percent(u64::MAX, u64::MAX), percent(9, 7)), (100, 100));
    }
}
