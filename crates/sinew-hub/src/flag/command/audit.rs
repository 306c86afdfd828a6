//! `sinew flag audit`

use clap::Args;

use super::list::json_of;
use super::place::Whereabouts;
use crate::cli::table::harmless;
use crate::cli::{Outcome, print_json};
use crate::flag::body::FlagChangeBody;
use crate::flag::diff;

/// Of which flag, how many, and where.
#[derive(Args)]
pub struct AuditArgs {
    /// Key of the only flag to tell of [default: all]
    key: Option<String>,
    /// How many changes: 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whereabouts: Whereabouts,
}

pub(super) async fn audit(args: &AuditArgs) -> Result<(), Outcome> {
    let place = args.whereabouts.place().await?;
    let changes = place.history(args.key.as_deref(), usize::from(args.count)).await?;
    if args.json {
        return print_json(&changes);
    }
    if changes.is_empty() {
        let flag =
            args.key.as_ref().map_or_else(|| "a flag".to_owned(), |key| format!("flag {key:?}"));
        println!("No change of {flag}{} in {place}.", args.whereabouts.shown());
    }
    for change in &changes {
        print!("{}", shown(change)?);
    }
    Ok(())
}

fn shown(change: &FlagChangeBody) -> Result<String, Outcome> {
    let (before, after) = match &change.segment {
        None => (json_of(&change.before)?, json_of(&change.after)?),
        Some(segment) => (json_of(&segment.before)?, json_of(&segment.after)?),
    };
    let before = Some(before).filter(|before| !before.is_null());
    let after = Some(after).filter(|after| !after.is_null());
    let done = match (&before, &after) {
        (None, _) => "made",
        (Some(_), Some(_)) => "changed",
        (Some(_), None) => "removed",
    };
    let FlagChangeBody { id, at, by, flag, .. } = change;
    let mut text = format!("{at}  {id}  {done} {} by {}\n", harmless(flag), harmless(by));
    // What is gone is told by that.
    if after.is_some() {
        for line in diff::lines(before.as_ref(), after.as_ref()) {
            text.push_str(&format!("    {}\n", harmless(&line)));
        }
    }
    if let Some(flags) = change.put_back {
        text.push_str(&format!("    with it, {flags} flags came back that Redis had lost\n"));
    }
    Ok(text)
}
