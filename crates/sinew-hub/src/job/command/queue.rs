//! `sinew job declare`, `pause`, `resume`, `workers` and `audit`

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::place::{Place, ask, failed, get, place, queue};
use crate::cli::request::read_reply;
use crate::cli::table::{cut, table};
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::{shown, written};
use crate::job::body::{AuditedBody, LaneBody, QueueBody, RateBody};
use crate::job::settings::QueueSetting;
use crate::job::terms;
use crate::session::between;

/// What a table shows of a lane's name.
const LANE_WIDTH: usize = 12;

/// Which queue.
#[derive(Args)]
pub struct QueueArgs {
    /// Name of the queue
    queue: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// What a queue is to be. What is not said stays as it is.
#[derive(Args)]
pub struct DeclareArgs {
    /// Name of the queue
    queue: String,
    /// How many partitions a new one has, for ever: 1 to 32, each in a slot of its own of a cluster [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=32))]
    partitions: Option<u16>,
    /// How many unfinished jobs a partition has at most [default of a new one: 50000000]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    len_max: Option<u64>,
    /// How many jobs run at a time, everywhere; 0 for any number
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    global: Option<u64>,
    /// How many jobs of one key run at a time, everywhere; 0 for any number
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    per_key: Option<u64>,
    /// How many jobs start in any window, like 100/1s; 0 for any number
    #[arg(long, value_name = "N/DURATION", value_parser = terms::rate)]
    rate: Option<(u64, Duration)>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

impl DeclareArgs {
    /// For Redis.
    fn setting(&self) -> QueueSetting {
        QueueSetting {
            name: self.queue.clone(),
            partitions: self.partitions,
            len_max: self.len_max,
            global: self.global,
            per_key: self.per_key,
            rate: self.rate,
        }
    }

    /// For a hub.
    fn body(&self) -> Value {
        let rate = self.rate.map(|(starts, per)| json!(RateBody { starts, per: written(per) }));
        let said = [
            ("partitions", self.partitions.map(|it| json!(it))),
            ("len_max", self.len_max.map(|it| json!(it))),
            ("global", self.global.map(|it| json!(it))),
            ("per_key", self.per_key.map(|it| json!(it))),
            ("rate", rate),
        ];
        let said = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(said.collect::<Map<_, _>>())
    }
}

pub(super) async fn declare(args: &DeclareArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let queue = match &place {
        Place::Redis(jobs, _) => {
            let look = args.setting().declare(jobs).await.map_err(failed)?;
            QueueBody::new(&args.queue, &look)
        }
        Place::Hub(hub) => {
            let request = hub.request(&[&args.queue])?;
            read_reply(&ask(&request, Method::PUT, Some(args.body().to_string())).await?)?
        }
    };
    if args.json {
        return print_json(&queue);
    }
    let (whose, limits) = (args.whose.shown(), limits(&queue));
    println!("Queue {:?}{whose} in {place} has {limits}.", args.queue);
    Ok(())
}

/// Its partitions, and what it is limited to.
fn limits(queue: &QueueBody) -> String {
    let partitions = match queue.partitions {
        1 => "1 partition".to_owned(),
        many => format!("{many} partitions"),
    };
    let rate = queue.rate.as_ref().map(|rate| format!("{} starts in {}", rate.starts, rate.per));
    let limits: Vec<String> = [
        queue.global.map(|jobs| format!("{jobs} jobs at a time")),
        queue.per_key.map(|jobs| format!("{jobs} of a key at a time")),
        rate,
    ]
    .into_iter()
    .flatten()
    .collect();
    match limits.is_empty() {
        true => format!("{partitions}, and no limits"),
        false => format!("{partitions}, and at most {}", limits.join(", ")),
    }
}

pub(super) async fn pause(args: &QueueArgs) -> Result<(), Outcome> {
    switch(args, "pause", "Paused", "what runs goes on, and jobs may be enqueued").await
}

pub(super) async fn resume(args: &QueueArgs) -> Result<(), Outcome> {
    switch(args, "resume", "Resumed", "its jobs are taken again").await
}

async fn switch(args: &QueueArgs, act: &str, done: &str, hence: &str) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    // Either would make one of this name: a slip is to be told.
    queue(&place, &args.queue).await.map_err(with_declare)?;
    match &place {
        Place::Redis(jobs, _) => {
            let queue = jobs.queue(&args.queue);
            let switched = if act == "pause" { queue.pause().await } else { queue.resume().await };
            switched.map_err(failed)?;
        }
        Place::Hub(hub) => {
            let request = hub.request(&[&args.queue, act])?;
            ask(&request, Method::POST, Some("{}".to_owned())).await?;
        }
    }
    if args.json {
        return print_json(&queue(&place, &args.queue).await?);
    }
    println!("{done} queue {:?}{} in {place}: {hence}.", args.queue, args.whose.shown());
    Ok(())
}

fn with_declare(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::NoSuchJob(what) => Outcome::NoSuchJob(format!(
            "{what}: expected one of `sinew job queues`; `sinew job declare` makes one"
        )),
        other => other,
    }
}

pub(super) async fn workers(args: &QueueArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let lanes: Vec<LaneBody> = match &place {
        Place::Redis(jobs, _) => {
            let lanes = jobs.queue(&args.queue).lanes().await.map_err(failed)?;
            lanes.into_iter().map(LaneBody::from).collect()
        }
        Place::Hub(hub) => get(&hub.request(&[&args.queue, "workers"])?).await?,
    };
    if lanes.is_empty() {
        queue(&place, &args.queue).await?;
    }
    if args.json {
        return print_json(&lanes);
    }
    if lanes.is_empty() {
        println!("No worker of queue {:?}{} in {place}.", args.queue, args.whose.shown());
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<[String; 6]> = lanes.iter().map(|lane| lane_row(lane, now)).collect();
    print!("{}", table(["WORKER", "RUNNING", "SLOTS", "JOINED", "LEASE", "LANE"], &rows));
    Ok(())
}

fn lane_row(lane: &LaneBody, now: Timestamp) -> [String; 6] {
    let lease = match lane.lease_until > now {
        true => shown(between(now, lane.lease_until)),
        false => "over".to_owned(),
    };
    [
        lane.worker.clone(),
        lane.running.to_string(),
        lane.slots.to_string(),
        shown(between(lane.joined_at, now)),
        lease,
        cut(&lane.lane, LANE_WIDTH),
    ]
}

pub(super) async fn audit(args: &QueueArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let found: AuditedBody = match &place {
        Place::Redis(jobs, _) => {
            queue(&place, &args.queue).await?;
            jobs.queue(&args.queue).audit().await.map_err(failed)?.into()
        }
        Place::Hub(hub) => {
            let request = hub.request(&[&args.queue, "audit"])?;
            read_reply(&ask(&request, Method::POST, Some("{}".to_owned())).await?)?
        }
    };
    if args.json {
        return print_json(&found);
    }
    let (whose, AuditedBody { stranded, miscounted, forgotten_keys }) = (args.whose.shown(), found);
    println!(
        "Queue {:?}{whose} in {place}: {stranded} {} stranded, {miscounted} numbers wrong, {forgotten_keys} keys forgotten; all is put right.",
        args.queue,
        terms::jobs(stranded)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use sinew::job::QueueLook;

    use super::*;

    #[test]
    fn limits_are_told_in_words() {
        let look = QueueLook { partitions: 1, ..QueueLook::default() };
        let told = |look: &QueueLook| limits(&QueueBody::new("mail", look));
        assert_eq!(told(&look), "1 partition, and no limits");
        let look = QueueLook { partitions: 4, global: 200, rate: (100, 1_000), ..look };
        assert_eq!(told(&look), "4 partitions, and at most 200 jobs at a time, 100 starts in 1s");
    }

    #[test]
    fn a_worker_that_is_not_heard_of_is_seen() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let lane = LaneBody {
            lane: "01234567890123456789".to_owned(),
            worker: "host:1".to_owned(),
            joined_at: at(0),
            lease_until: at(90),
            slots: 16,
            running: 3,
        };
        let expected = ["host:1", "3", "16", "1 min 0 s", "30 s", "01234567890…"];
        assert_eq!(lane_row(&lane, at(60)), expected);
        assert_eq!(lane_row(&lane, at(90))[4], "over");
    }
}
