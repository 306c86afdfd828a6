//! `sinew stream list` and `sinew stream groups`

use std::time::Duration;

use clap::Args;

use super::place::{place, topic, topics};
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::duration::shown;
use crate::stream::body::{GroupBody, TopicBody};

/// Where topics are.
#[derive(Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Of which topic.
#[derive(Args)]
pub struct GroupsArgs {
    /// Name of the topic
    topic: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let topics = topics(&place).await?;
    if args.json {
        return print_json(&topics);
    }
    if topics.is_empty() {
        println!("No topic{} in {place}.", args.whose.shown());
        return Ok(());
    }
    let rows: Vec<[String; 6]> = topics.iter().map(row).collect();
    print!("{}", table(["TOPIC", "PARTS", "EVENTS", "DELAYED", "DEAD", "GROUPS"], &rows));
    Ok(())
}

fn row(topic: &TopicBody) -> [String; 6] {
    [
        topic.topic.clone(),
        topic.partitions.to_string(),
        topic.len.to_string(),
        topic.delayed.to_string(),
        topic.dead.to_string(),
        topic.groups.len().to_string(),
    ]
}

pub(super) async fn groups(args: &GroupsArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let groups = topic(&place, &args.topic).await?.groups;
    if args.json {
        return print_json(&groups);
    }
    if groups.is_empty() {
        println!("No group of topic {:?}{} in {place}.", args.topic, args.whose.shown());
        return Ok(());
    }
    let rows: Vec<[String; 7]> = groups.iter().map(group_row).collect();
    let titles = ["GROUP", "CONSUMERS", "WAITING", "HELD", "PARKED", "DEAD", "OLDEST"];
    print!("{}", table(titles, &rows));
    Ok(())
}

fn group_row(group: &GroupBody) -> [String; 7] {
    [
        group.group.clone(),
        group.consumers_len.to_string(),
        waiting(group),
        group.held.to_string(),
        group.parked.to_string(),
        group.dead.to_string(),
        oldest(group),
    ]
}

/// How many wait, and whether it is only about so many.
pub(super) fn waiting(group: &GroupBody) -> String {
    let about = if group.waiting_is_exact { "" } else { "~" };
    format!("{about}{}", group.waiting)
}

pub(super) fn oldest(group: &GroupBody) -> String {
    group.oldest_unacked_ms.map_or_else(|| "–".to_owned(), |ms| shown(Duration::from_millis(ms)))
}
