//! `sinew job queues`, `sinew job list` and `sinew job done`

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use sinew::Jobs;
use sinew::job::{DeadFilter, JobState};

use super::place::{Place, asking, failed, get, place, queue, queues};
use super::show::percent;
use crate::cli::place::AtHub;
use crate::cli::table::{cut, table};
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::{parse, shown, written};
use crate::job::body::{DoneBody, JobBody, JobsBody, QueueBody};
use crate::job::dead::Meant;
use crate::job::terms;
use crate::session::between;

/// Of one page.
const PAGE_LEN: usize = 100;
/// What a table shows of a worker.
const WORKER_WIDTH: usize = 16;

/// Where queues are.
#[derive(Args)]
pub struct QueuesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which jobs.
#[derive(Args)]
pub struct ListArgs {
    /// Name of the queue
    queue: String,
    /// waiting (of those with a key only the next of each), scheduled, running, done (those that are kept) or dead
    #[arg(long, value_parser = terms::state, default_value = "waiting")]
    state: JobState,
    #[command(flatten)]
    filter: FilterArgs,
    /// How many jobs: 1 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Begin after those that were shown, as the last line says
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Of which queue, and how many.
#[derive(Args)]
pub struct DoneArgs {
    /// Name of the queue
    queue: String,
    /// How many jobs: 1 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which dead jobs: all that is said has to be so.
#[derive(Args)]
pub(super) struct FilterArgs {
    /// Those dead jobs with this trouble, as `sinew job dead` shows it
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) fingerprint: Option<String>,
    /// Those dead jobs of this kind
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Those dead jobs that died at least so long ago, like 7d
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse)]
    pub(super) older_than: Option<Duration>,
}

impl FilterArgs {
    pub(super) fn is_said(&self) -> bool {
        self.fingerprint.is_some() || self.kind.is_some() || self.older_than.is_some()
    }

    /// For Redis.
    pub(super) fn filter(&self) -> DeadFilter {
        self.meant().filter()
    }

    pub(super) fn meant(&self) -> Meant<'_> {
        let (kind, fingerprint) = (self.kind.as_deref(), self.fingerprint.as_deref());
        Meant { kind, fingerprint, older_than: self.older_than }
    }
}

pub(super) async fn queues_of(args: &QueuesArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let queues = queues(&place).await?;
    if args.json {
        return print_json(&queues);
    }
    if queues.is_empty() {
        println!("No queue{} in {place}.", args.whose.shown());
        return Ok(());
    }
    let rows: Vec<[String; 7]> = queues.iter().map(queue_row).collect();
    let titles = ["QUEUE", "WAITING", "SCHEDULED", "RUNNING", "DEAD", "LANES", "OLDEST"];
    print!("{}", table(titles, &rows));
    Ok(())
}

fn queue_row(queue: &QueueBody) -> [String; 7] {
    let oldest = queue.oldest_ms.map(|ms| shown(Duration::from_millis(ms)));
    [
        name_shown(queue),
        queue.waiting.to_string(),
        queue.scheduled.to_string(),
        queue.running.to_string(),
        queue.dead.to_string(),
        queue.lanes.to_string(),
        oldest.unwrap_or_else(|| "–".to_owned()),
    ]
}

/// What a queue is called, and whether nobody takes its jobs.
pub(super) fn name_shown(queue: &QueueBody) -> String {
    // First: the end of a long name is cut.
    let paused = if queue.paused { "paused: " } else { "" };
    format!("{paused}{}", queue.queue)
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Outcome> {
    if args.filter.is_said() && args.state != JobState::Dead {
        return Err(Outcome::BadInput(
            "--fingerprint, --kind and --older-than are for dead jobs: expected --state dead beside them"
                .to_owned(),
        ));
    }
    let place = place(&args.whose).await?;
    let listed = jobs(args, &place).await?;
    if listed.jobs.is_empty() {
        queue(&place, &args.queue).await?;
    }
    if args.json {
        return print_json(&listed);
    }
    let state = terms::name_of(args.state);
    match listed.jobs.is_empty() {
        true => {
            let (queue, whose) = (&args.queue, args.whose.shown());
            println!("No {state} job in queue {queue:?}{whose} in {place}.");
        }
        false => {
            let (titles, now) = (titles(args.state), Timestamp::now());
            let rows: Vec<[String; 4]> =
                listed.jobs.iter().map(|job| row(args.state, job, now)).collect();
            print!("{}", table(titles, &rows));
        }
    }
    if let Some(next) = &listed.next {
        println!("More, if there are any: --after {next}");
    }
    Ok(())
}

/// As many as are wanted, of as many pages as it takes.
async fn jobs(args: &ListArgs, place: &Place) -> Result<JobsBody, Outcome> {
    let (mut jobs, mut after) = (Vec::new(), args.after.clone());
    loop {
        let count = (usize::from(args.count) - jobs.len()).min(PAGE_LEN);
        let page = match place {
            Place::Redis(of, _) => in_redis(of, args, after.as_deref(), count).await?,
            Place::Hub(hub) => at_hub(hub, args, after.as_deref(), count).await?,
        };
        jobs.extend(page.jobs);
        after = page.next;
        if after.is_none() || jobs.len() >= usize::from(args.count) {
            return Ok(JobsBody { jobs, next: after });
        }
    }
}

async fn in_redis(
    jobs: &Jobs,
    args: &ListArgs,
    after: Option<&str>,
    count: usize,
) -> Result<JobsBody, Outcome> {
    let queue = jobs.queue(&args.queue);
    let page = match args.state {
        JobState::Dead => queue.dead().filter(args.filter.filter()).page(after, count).await,
        state => queue.list(state, after, count).await,
    };
    page.map(JobsBody::from).map_err(failed)
}

async fn at_hub(
    hub: &AtHub,
    args: &ListArgs,
    after: Option<&str>,
    count: usize,
) -> Result<JobsBody, Outcome> {
    let (count, older_than) = (count.to_string(), args.filter.older_than.map(written));
    let questions = [
        ("state", Some(terms::name_of(args.state))),
        ("count", Some(count.as_str())),
        ("cursor", after),
        ("fingerprint", args.filter.fingerprint.as_deref()),
        ("kind", args.filter.kind.as_deref()),
        ("older_than", older_than.as_deref()),
    ];
    get(&asking(hub.request(&[&args.queue, "jobs"])?, &questions)).await
}

fn titles(state: JobState) -> [&'static str; 4] {
    match state {
        JobState::Waiting => ["KIND", "PRIORITY", "AGE", "ID"],
        JobState::Scheduled => ["KIND", "FAILED", "DUE IN", "ID"],
        JobState::Running => ["KIND", "WORKER", "PROGRESS", "ID"],
        JobState::Done => ["KIND", "TOOK", "DONE FOR", "ID"],
        JobState::Dead => ["KIND AND REASON", "FAILED", "DEAD FOR", "ID"],
    }
}

fn row(state: JobState, job: &JobBody, now: Timestamp) -> [String; 4] {
    let none = || "–".to_owned();
    let ago = |at: Option<Timestamp>| at.map_or_else(none, |at| shown(between(at, now)));
    let (kind, id) = (job.kind.clone(), job.id.clone());
    match state {
        JobState::Waiting => [kind, job.priority.to_string(), ago(job.enqueued_at), id],
        JobState::Scheduled => {
            let due = job.at.map_or_else(none, |at| shown(between(now, at)));
            [kind, job.failures.to_string(), due, id]
        }
        JobState::Running => {
            let worker = job.worker.as_deref().map_or_else(none, |name| cut(name, WORKER_WIDTH));
            let progress = job.progress.as_ref().filter(|progress| progress.total > 0);
            let share = progress.map(|of| format!("{} %", percent(of.done, of.total)));
            [kind, worker, share.unwrap_or_else(none), id]
        }
        JobState::Done => {
            let took = job.took_ms.map_or_else(none, |ms| format!("{ms} ms"));
            [kind, took, ago(job.ended_at), id]
        }
        JobState::Dead => {
            let reason = job.reason.as_deref().unwrap_or_default();
            [format!("{kind}: {reason}"), job.failures.to_string(), ago(job.at), id]
        }
    }
}

pub(super) async fn done(args: &DoneArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let done: Vec<DoneBody> = match &place {
        Place::Redis(jobs, _) => {
            let done = jobs.queue(&args.queue).done(usize::from(args.count)).await;
            done.map_err(failed)?.into_iter().map(DoneBody::from).collect()
        }
        Place::Hub(hub) => {
            let count = args.count.to_string();
            let request = hub.request(&[&args.queue, "done"])?;
            get(&asking(request, &[("count", Some(count.as_str()))])).await?
        }
    };
    if done.is_empty() {
        queue(&place, &args.queue).await?;
    }
    if args.json {
        return print_json(&done);
    }
    if done.is_empty() {
        let whose = args.whose.shown();
        println!("No job of queue {:?}{whose} in {place} was done lately.", args.queue);
        return Ok(());
    }
    let now = Timestamp::now();
    let row = |of: &DoneBody| {
        let (took, ago) = (format!("{} ms", of.took_ms), shown(between(of.at, now)));
        [of.kind.clone(), cut(&of.worker, WORKER_WIDTH), took, ago, of.id.clone()]
    };
    let rows: Vec<[String; 5]> = done.iter().map(row).collect();
    print!("{}", table(["KIND", "WORKER", "TOOK", "DONE FOR", "ID"], &rows));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_jobs_are_named_by_all_that_is_said() {
        let said = FilterArgs {
            fingerprint: Some("0c4f".to_owned()),
            kind: Some("email.send".to_owned()),
            older_than: Some(Duration::from_secs(60)),
        };
        let expected = DeadFilter::new()
            .kind("email.send")
            .older_than(Duration::from_secs(60))
            .fingerprint("0c4f");
        assert_eq!((said.is_said(), said.filter()), (true, expected));
        let none = FilterArgs { fingerprint: None, kind: None, older_than: None };
        assert_eq!((none.is_said(), none.filter()), (false, DeadFilter::new()));
    }
}
