//! `sinew stream trim`, `seek` and `forget`

use clap::Args;
use reqwest::Method;
use serde_json::json;
use sinew::stream::GroupChange;

use super::place::{Place, ask, failed, group, group_of, no_group, place, topic};
use crate::cli::confirm::{Consent, consent};
use crate::cli::request::read_reply;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::stream::body::TrimmedBody;
use crate::stream::terms;

/// Which topic.
#[derive(Args)]
pub struct TrimArgs {
    /// Name of the topic
    topic: String,
    /// Say what keeps events from being removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Which group, and where to.
#[derive(Args)]
pub struct SeekArgs {
    /// Name of the topic
    topic: String,
    /// Name of the group
    group: String,
    /// start, end, a time like 2026-01-31T12:00:00Z, or the place of the first event that it is to handle
    #[arg(long, value_name = "WHERE")]
    to: String,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    whose: Whose,
}

/// Which group.
#[derive(Args)]
pub struct ForgetArgs {
    /// Name of the topic
    topic: String,
    /// Name of the group
    group: String,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    whose: Whose,
}

/// With or without questions.
#[derive(Args)]
struct HowArgs {
    /// Also where consumers hold events, which are taken from them
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn trim(args: &TrimArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let before = topic(&place, &args.topic).await?;
    let kept = |held_by: Option<&String>| match held_by {
        Some(group) => format!("group {group:?} keeps most of the rest"),
        None => format!("what is finished is kept for {}", before.keep),
    };
    if args.dry_run {
        if args.json {
            return print_json(&before);
        }
        let (len, kept) = (before.len, kept(before.held_by.as_ref()));
        println!("Topic {:?} has {len} events: {kept}.", args.topic);
        return Ok(());
    }
    let trimmed: TrimmedBody = match &place {
        Place::Redis(streams, _) => {
            let trimmed = streams.trim(&args.topic).await.map_err(failed)?;
            TrimmedBody { removed: trimmed.removed, held_by: trimmed.held_by }
        }
        Place::Hub(hub) => {
            let request = hub.request(&[&args.topic, "trim"])?;
            read_reply(&ask(&request, Method::POST, None).await?)?
        }
    };
    if args.json {
        return print_json(&trimmed);
    }
    let (removed, kept) = (trimmed.removed, kept(trimmed.held_by.as_ref()));
    let events = terms::events(removed);
    println!("Removed {removed} {events} of topic {:?}: {kept}.", args.topic);
    Ok(())
}

pub(super) async fn seek(args: &SeekArgs) -> Result<(), Outcome> {
    let bad = |what: String| Outcome::BadInput(format!("--to: {what}"));
    let to = terms::seek(&args.to).map_err(bad)?;
    let place = place(&args.whose).await?;
    let (of, name) = (&args.topic, &args.group);
    let found = topic(&place, of).await?;
    terms::within(to, found.partitions).map_err(bad)?;
    let before = group_of(found, name)?;
    refuse_pending(name, before.leased(), args.how.force)?;
    let whose = format!("group {name:?} of topic {of:?}{} in {place}", args.whose.shown());
    consent(Consent::of(args.how.yes), &format!("Let {whose} go on at {}?", args.to))?;
    match &place {
        Place::Redis(streams, _) => {
            let change = streams.seek(of, name, to, terms::force(args.how.force)).await;
            done(change.map_err(failed)?, of, name)?;
        }
        Place::Hub(hub) => {
            let request = hub.request(&[of, "groups", name, "seek"])?;
            let body = json!({ "to": args.to, "force": args.how.force });
            ask(&request, Method::POST, Some(body)).await?;
        }
    }
    println!("Let {whose} go on at {}.", args.to);
    Ok(())
}

pub(super) async fn forget(args: &ForgetArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let (of, name) = (&args.topic, &args.group);
    let before = group(&place, of, name).await?;
    refuse_pending(name, before.leased(), args.how.force)?;
    let whose = format!("group {name:?} of topic {of:?}{} in {place}", args.whose.shown());
    let unfinished = before.unfinished();
    let events = terms::events(unfinished);
    let question = format!("Remove {whose}, which has {unfinished} unfinished {events}?");
    consent(Consent::of(args.how.yes), &question)?;
    match &place {
        Place::Redis(streams, _) => {
            let change = streams.forget_group(of, name, terms::force(args.how.force)).await;
            done(change.map_err(failed)?, of, name)?;
        }
        Place::Hub(hub) => {
            let mut request = hub.request(&[of, "groups", name])?;
            if args.how.force {
                request.url.query_pairs_mut().append_pair("force", "true");
            }
            ask(&request, Method::DELETE, None).await?;
        }
    }
    println!("Removed {whose}.");
    Ok(())
}

fn refuse_pending(group: &str, pending: u64, force: bool) -> Result<(), Outcome> {
    match pending > 0 && !force {
        true => Err(held(group, pending)),
        false => Ok(()),
    }
}

fn done(change: GroupChange, topic: &str, group: &str) -> Result<(), Outcome> {
    match change {
        GroupChange::Done => Ok(()),
        GroupChange::Pending(pending) => Err(held(group, pending)),
        GroupChange::Unknown => Err(no_group(topic, group)),
    }
}

fn held(group: &str, pending: u64) -> Outcome {
    Outcome::Failed(terms::still_holds(group, pending))
}
