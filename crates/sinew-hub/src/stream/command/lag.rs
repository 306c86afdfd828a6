//! `sinew stream lag`

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::list::{oldest, waiting};
use super::place::{Place, place, topic, topics};
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration;
use crate::stream::body::{GroupBody, TopicBody, millis};

const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Of which topic, and what is too much.
#[derive(Args)]
pub struct LagArgs {
    /// Name of the only topic [default: all]
    topic: Option<String>,
    /// Tell it again every second
    #[arg(long)]
    watch: bool,
    /// Fail where a group has more unfinished events than this
    #[arg(long, value_name = "N")]
    fail_above: Option<u64>,
    /// Fail where a group has an unfinished event that is older, like 5m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    fail_older: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// How far behind a group is.
#[derive(Serialize)]
struct Lag<'a> {
    topic: &'a str,
    #[serde(flatten)]
    group: &'a GroupBody,
}

pub(super) async fn lag(args: &LagArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let mut was_seen = false;
    loop {
        let topics = match looked_at(args, &place).await {
            Ok(topics) => topics,
            Err(missing @ Outcome::NoSuchStream(_)) if !was_seen => return Err(missing),
            // Whoever watches is to see it come back.
            Err(Outcome::Failed(what) | Outcome::NoSuchStream(what)) if args.watch => {
                eprintln!("not known now: {what}");
                tokio::time::sleep(WATCH_EVERY).await;
                continue;
            }
            Err(ended) => return Err(ended),
        };
        was_seen = true;
        let lags: Vec<Lag<'_>> = topics
            .iter()
            .flat_map(|of| of.groups.iter().map(|group| Lag { topic: &of.topic, group }))
            .collect();
        if args.json {
            print_json(&lags)?;
        } else if lags.is_empty() {
            println!("No group{} in {place}.", args.whose.shown());
        } else {
            let rows: Vec<[String; 6]> = lags.iter().map(row).collect();
            let titles = ["GROUP", "TOPIC", "WAITING", "HELD", "PARKED", "OLDEST"];
            print!("{}", table(titles, &rows));
        }
        let late: Vec<String> = lags.iter().filter_map(|lag| too_late(args, lag)).collect();
        if !late.is_empty() {
            return Err(Outcome::Failed(late.join("\n")));
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

async fn looked_at(args: &LagArgs, place: &Place) -> Result<Vec<TopicBody>, Outcome> {
    match &args.topic {
        Some(name) => Ok(vec![topic(place, name).await?]),
        None => {
            let mut all = topics(place).await?;
            let with_dead = all.iter().filter(|of| of.dead > 0);
            let names: Vec<String> = with_dead.map(|of| format!("{}.dead", of.topic)).collect();
            // Dead letters are a topic, too, which no list has.
            for name in names {
                match topic(place, &name).await {
                    Ok(found) => all.push(found),
                    // Removed meanwhile.
                    Err(Outcome::NoSuchStream(_)) => {}
                    Err(other) => return Err(other),
                }
            }
            all.sort_by(|one, other| one.topic.cmp(&other.topic));
            Ok(all)
        }
    }
}

fn row(lag: &Lag<'_>) -> [String; 6] {
    [
        lag.group.group.clone(),
        lag.topic.to_owned(),
        waiting(lag.group),
        lag.group.held.to_string(),
        lag.group.parked.to_string(),
        oldest(lag.group),
    ]
}

/// What is wrong with a group by what was said to be too much.
fn too_late(args: &LagArgs, lag: &Lag<'_>) -> Option<String> {
    let (name, topic, unfinished) = (&lag.group.group, lag.topic, lag.group.unfinished());
    if let Some(most) = args.fail_above.filter(|most| unfinished > *most) {
        return Some(format!(
            "group {name:?} of topic {topic:?} has {unfinished} unfinished events: expected at most {most}"
        ));
    }
    let age_ms = lag.group.oldest_unacked_ms?;
    let most = args.fail_older.filter(|most| age_ms > millis(*most))?;
    Some(format!(
        "the oldest unfinished event of group {name:?} of topic {topic:?} is {} old: expected at most {}",
        duration::shown(Duration::from_millis(age_ms)),
        duration::shown(most)
    ))
}
