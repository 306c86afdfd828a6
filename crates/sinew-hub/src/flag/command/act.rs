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
    /// The change that is to be taken back, as `sinew flag audit` shows it
    change: String,
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
    act(args, Act::Kill, "Killed").await
}

pub(super) async fn revive(args: &KeyArgs) -> Result<(), Outcome> {
    act(args, Act::Revive, "Revived").await
}

async fn act(args: &KeyArgs, act: Act<'_>, done: &str) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let written = place.act(&args.key, act).await?;
    let (key, whose) = (&args.key, args.whereabouts.shown());
    match args.json {
        true => print_json(&written),
        false => told(&format!("{done} flag {key:?}{whose} in {place}"), &written),
    }
}

pub(super) async fn roll_back(args: &RollBackArgs) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let written = place.act(&args.key, Act::RollBack(&args.change)).await?;
    let (key, whose) = (&args.key, args.whereabouts.shown());
    match args.json {
        true => print_json(&written),
        false => told(&format!("Rolled back flag {key:?}{whose} in {place}"), &written),
    }
}

fn told(what: &str, written: &WrittenBody) -> Result<(), Outcome> {
    println!("{what}.");
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
