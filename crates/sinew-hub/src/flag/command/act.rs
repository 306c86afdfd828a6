//! `sinew flag kill|revive|roll-back|remove`

use clap::Args;
use serde_json::json;

use super::list::json_of;
use super::place::{Act, Whereabouts};
use crate::cli::confirm::{Consent, consent};
use crate::cli::table::harmless;
use crate::cli::{Outcome, print_json};
use crate::flag::body::WrittenBody;
use crate::flag::diff;

/// Which flag, and where.
#[derive(Args)]
pub struct KeyArgs {
    /// Key of the flag
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Which change of which flag, and where.
#[derive(Args)]
pub struct RollBackArgs {
    /// Key of the flag
    key: String,
    /// The change that is to be taken back, as `sinew flag audit KEY` shows it
    change: String,
    /// Do not ask, where that removes the flag, or ends a kill
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

/// Which flag, and where.
#[derive(Args)]
pub struct RemoveArgs {
    /// Key of the flag
    key: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

// Without a question: it is for emergencies, and `revive` takes it back.
pub(super) async fn kill(args: &KeyArgs) -> Result<(), Outcome> {
    act(args, Act::Kill, "Killed", "is killed already").await
}

pub(super) async fn revive(args: &KeyArgs) -> Result<(), Outcome> {
    act(args, Act::Revive, "Revived", "is not killed").await
}

async fn act(args: &KeyArgs, act: Act<'_>, done: &str, already: &str) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let written = place.act(&args.key, act).await?;
    let what = format!("flag {:?}{} in {place}", args.key, args.whereabouts.shown());
    match (args.json, written.is_change()) {
        (true, _) => return print_json(&written),
        (false, true) => println!("{done} {what}."),
        (false, false) => println!("Nothing was changed: {what} {already}."),
    }
    show_difference(&written)
}

pub(super) async fn roll_back(args: &RollBackArgs) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let (key, change) = (&args.key, &args.change);
    let found = place.change(key, change).await?.ok_or_else(|| {
        Outcome::NoSuchFlag(format!(
            "no change {change} of flag {key:?}: expected one as `sinew flag audit KEY` shows it"
        ))
    })?;
    let now = place.flag(key).await?;
    let what = format!("flag {key:?}{} in {place}", args.whereabouts.shown());
    let question = match (&found.before, &now) {
        (None, Some(_)) => Some(format!(
            "Remove {what}, which was not there before that change? Everyone will get what the code says by itself."
        )),
        (Some(before), Some(now)) if now.killed && !before.killed => Some(format!(
            "Revive {what}, which is killed, and was not before that change? Its rules will hold again."
        )),
        _ => None,
    };
    if let Some(question) = question {
        consent(Consent::of(args.yes), &question)?;
    }
    let revision = now.map(|flag| flag.revision);
    let written = place.act(key, Act::RollBack { change, revision }).await?;
    match (args.json, written.is_change(), &written.after) {
        (true, ..) => return print_json(&written),
        (false, false, _) => println!("Nothing was changed: {what} is as it was before that."),
        (false, true, Some(_)) => println!("Rolled back {what}."),
        (false, true, None) => println!("Rolled back, and so removed {what}."),
    }
    show_difference(&written)
}

fn show_difference(written: &WrittenBody) -> Result<(), Outcome> {
    let before = written.before.as_ref().map(json_of).transpose()?;
    let after = written.after.as_ref().map(json_of).transpose()?;
    for line in diff::lines(before.as_ref(), after.as_ref()) {
        println!("  {}", harmless(&line));
    }
    Ok(())
}

pub(super) async fn remove(args: &RemoveArgs) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let what = format!("flag {:?}{} in {place}", args.key, args.whereabouts.shown());
    let question = format!("Remove {what}? Everyone will get what the code says by itself.");
    consent(Consent::of(args.yes), &question)?;
    place.remove(&args.key).await?;
    match args.json {
        true => print_json(&json!({ "removed": true }))?,
        false => println!("Removed {what}."),
    }
    Ok(())
}
