//! `sinew job dead`, `retry` and `drop-dead`

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Map, Value, json};
use sinew::Jobs;
use sinew::job::{DeadJobs, JobId};

use super::list::FilterArgs;
use super::place::{Place, ask, failed, get, place, queue};
use crate::cli::confirm::{Consent, consent};
use crate::cli::place::AtHub;
use crate::cli::request::read_reply;
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::{shown, written};
use crate::job::body::{CountBody, DeadGroupBody, DroppedBody, RetriedBody};
use crate::job::dead::HowMany;
use crate::job::terms;
use crate::session::between;

/// Of those that are named one by one.
const IDS_MAX: usize = 256;

/// Of which queue.
#[derive(Args)]
pub struct DeadArgs {
    /// Name of the queue
    queue: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which dead jobs.
#[derive(Args)]
pub struct BulkArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Say how many it would be, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Some dead jobs of a queue, or all.
#[derive(Args)]
struct WhichArgs {
    /// Name of the queue
    queue: String,
    /// What the jobs are called; or --all, or those of --fingerprint, --kind and --older-than
    #[arg(
        value_parser = terms::id,
        conflicts_with_all = ["all", "fingerprint", "kind", "older_than"]
    )]
    ids: Vec<JobId>,
    /// All that are dead now
    #[arg(long, conflicts_with_all = ["fingerprint", "kind", "older_than"])]
    all: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

impl WhichArgs {
    fn check(&self) -> Result<(), Outcome> {
        match self.ids.len() {
            0 if !self.all && !self.filter.is_said() => Err(Outcome::BadInput(
                "expected which dead jobs: ids, or --all, or --fingerprint, --kind and --older-than"
                    .to_owned(),
            )),
            0..=IDS_MAX => Ok(()),
            many => Err(Outcome::BadInput(format!(
                "{many} jobs are too many: expected at most {IDS_MAX}, or --all"
            ))),
        }
    }

    /// Where so many were found: whether any was of those that are named one by one.
    fn there(&self, found: u64) -> Result<(), Outcome> {
        match self.ids.is_empty() || found > 0 {
            true => Ok(()),
            false => Err(Outcome::NoSuchJob(format!(
                "none of these jobs is dead in queue {:?}: `sinew job dead` tells what is",
                self.queue
            ))),
        }
    }

    /// As a hub takes it.
    fn body(&self) -> Map<String, Value> {
        let said = [
            ("ids", Some(json!(self.ids)).filter(|_| !self.ids.is_empty())),
            ("all", self.all.then_some(Value::Bool(true))),
            ("fingerprint", self.filter.fingerprint.as_ref().map(|it| json!(it))),
            ("kind", self.filter.kind.as_ref().map(|it| json!(it))),
            ("older_than", self.filter.older_than.map(|it| json!(written(it)))),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// In Redis: those of the filter, or all.
    fn dead(&self, jobs: &Jobs) -> DeadJobs {
        jobs.queue(&self.queue).dead().filter(self.filter.filter())
    }

    /// In words.
    fn shown(&self, whose: &Whose, place: &Place) -> String {
        let which = match (self.all, self.filter.is_said()) {
            (true, _) => "all dead jobs",
            (false, true) => "the dead jobs that are meant",
            (false, false) => "dead jobs",
        };
        format!("{which} of queue {:?}{} in {place}", self.queue, whose.shown())
    }

    /// How many are meant of a queue that is there.
    async fn count(&self, place: &Place) -> Result<HowMany, Outcome> {
        let there = queue(place, &self.queue).await?;
        if self.all {
            return Ok(HowMany { at_most: there.dead, is_exact: true });
        }
        if !self.ids.is_empty() {
            let at_most = u64::try_from(self.ids.len()).unwrap_or(u64::MAX);
            return Ok(HowMany { at_most, is_exact: false });
        }
        match place {
            Place::Redis(jobs, _) => {
                let meant = self.filter.meant();
                meant.count(&jobs.queue(&self.queue), there.dead).await.map_err(failed)
            }
            Place::Hub(hub) => {
                let mut body = self.body();
                body.insert("dry_run".to_owned(), json!(true));
                // Either would say it.
                let text = sent(hub, &self.queue, "retry", body).await?;
                let CountBody { count, exact } = read_reply(&text)?;
                Ok(HowMany { at_most: count, is_exact: exact })
            }
        }
    }
}

/// What a hub replies to an act on dead jobs.
async fn sent(
    hub: &AtHub,
    queue: &str,
    act: &str,
    body: Map<String, Value>,
) -> Result<String, Outcome> {
    let request = hub.request(&[queue, "dead", act])?;
    ask(&request, Method::POST, Some(Value::Object(body).to_string())).await
}

pub(super) async fn dead(args: &DeadArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let groups: Vec<DeadGroupBody> = match &place {
        Place::Redis(jobs, _) => {
            let groups = jobs.queue(&args.queue).dead().groups().await.map_err(failed)?;
            groups.into_iter().map(DeadGroupBody::from).collect()
        }
        Place::Hub(hub) => get(&hub.request(&[&args.queue, "dead", "groups"])?).await?,
    };
    if groups.is_empty() {
        queue(&place, &args.queue).await?;
    }
    if args.json {
        return print_json(&groups);
    }
    if groups.is_empty() {
        println!("No dead job in queue {:?}{} in {place}.", args.queue, args.whose.shown());
        return Ok(());
    }
    let now = Timestamp::now();
    let row = |of: &DeadGroupBody| {
        [
            format!("{}: {}", of.kind, of.error),
            of.count.to_string(),
            shown(between(of.newest_at, now)),
            of.fingerprint.clone(),
        ]
    };
    let rows: Vec<[String; 4]> = groups.iter().map(row).collect();
    print!("{}", table(["KIND AND SAMPLE", "JOBS", "LAST", "FINGERPRINT"], &rows));
    Ok(())
}

pub(super) async fn retry(args: &BulkArgs) -> Result<(), Outcome> {
    let Some((place, what)) = agreed(args, "Retry", "retried").await? else { return Ok(()) };
    let which = &args.which;
    let retried: RetriedBody = match &place {
        Place::Redis(jobs, _) => {
            let dead = which.dead(jobs);
            match which.ids.is_empty() {
                true => dead.retry_all().await,
                false => dead.retry(&which.ids).await,
            }
            .map_err(failed)?
            .into()
        }
        Place::Hub(hub) => read_reply(&sent(hub, &which.queue, "retry", which.body()).await?)?,
    };
    if args.json {
        print_json(&retried)?;
        return which.there(retried.retried + retried.duplicates);
    }
    let RetriedBody { retried, duplicates, gone } = retried;
    println!("Retried {retried} of {what}.");
    if duplicates > 0 {
        println!("{duplicates} stay dead: other jobs have their unique names.");
    }
    if gone > 0 {
        println!("{gone} were not there, or not dead.");
    }
    which.there(retried + duplicates)
}

pub(super) async fn drop_dead(args: &BulkArgs) -> Result<(), Outcome> {
    let Some((place, what)) = agreed(args, "Remove", "removed").await? else { return Ok(()) };
    let which = &args.which;
    let dropped = match &place {
        Place::Redis(jobs, _) => {
            let dead = which.dead(jobs);
            let dropped = match which.ids.is_empty() {
                true => dead.drop_all().await,
                false => dead.drop(&which.ids).await,
            };
            DroppedBody { dropped: dropped.map_err(failed)? }
        }
        Place::Hub(hub) => read_reply(&sent(hub, &which.queue, "drop", which.body()).await?)?,
    };
    match args.json {
        true => print_json(&dropped)?,
        false => println!("Removed {} of {what}.", dropped.dropped),
    }
    which.there(dropped.dropped)
}

/// Where it is to be done, and to what, in words; nothing where it was only to be said.
async fn agreed(
    args: &BulkArgs,
    act: &str,
    done: &str,
) -> Result<Option<(Place, String)>, Outcome> {
    let which = &args.which;
    which.check()?;
    let place = place(&args.whose).await?;
    let what = which.shown(&args.whose, &place);
    if args.dry_run {
        would(done, &what, which.count(&place).await?, args.json)?;
        return Ok(None);
    }
    // What is named one by one is meant.
    match which.ids.is_empty() && !args.yes {
        true => {
            let HowMany { at_most, is_exact } = which.count(&place).await?;
            let most = if is_exact { "" } else { "at most " };
            consent(Consent::ToBeAsked, &format!("{act} {what}, {most}{at_most} now?"))?;
        }
        false => {
            queue(&place, &which.queue).await?;
        }
    }
    Ok(Some((place, what)))
}

fn would(done: &str, what: &str, count: HowMany, json: bool) -> Result<(), Outcome> {
    let HowMany { at_most, is_exact } = count;
    if json {
        return print_json(&json!({ "would": done, "count": at_most, "exact": is_exact }));
    }
    let most = if is_exact { "" } else { "At most " };
    println!("{most}{at_most} would be {done} of {what}.");
    Ok(())
}
