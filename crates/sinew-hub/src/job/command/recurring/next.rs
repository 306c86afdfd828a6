//! `sinew job recurring next`

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use sinew::Sinew;
use sinew::job::Dst;

use super::tick;
use crate::cli::{Outcome, print_json};
use crate::duration::parse;
use crate::job::terms;

/// Which schedule, and how far.
#[derive(Args)]
pub struct NextArgs {
    /// Minute, hour, day of the month, month, day of the week, with seconds before them where there are six; or
    /// @daily and its like
    #[arg(required_unless_present_any = ["cron_option", "every"], conflicts_with_all = ["cron_option", "every"])]
    cron: Option<String>,
    /// The same, as `put` takes it
    #[arg(long = "cron", value_name = "EXPRESSION", conflicts_with = "every")]
    cron_option: Option<String>,
    /// An interval instead, like 15m: at all multiples of it since 1970
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, value_parser = parse)]
    every: Option<Duration>,
    /// The time zone of the clock on the wall
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// When that clock is put forward or back: run-once, run-twice or skip
    #[arg(long, value_name = "POLICY", value_parser = terms::dst, default_value = "run-once")]
    dst: Dst,
    /// How many ticks: 1 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn next(args: &NextArgs) -> Result<(), Outcome> {
    let zone = TimeZone::get(&args.tz).map_err(|_| {
        Outcome::BadInput("--tz: expected a time zone like Europe/Berlin or UTC".to_owned())
    })?;
    let ticks = ticks(args)?;
    if args.json {
        return print_json(&json!({ "next": ticks }));
    }
    for at in ticks {
        println!("{}", at.to_zoned(zone.clone()));
    }
    Ok(())
}

/// By this process alone: nothing is asked of a store.
fn ticks(args: &NextArgs) -> Result<Vec<Timestamp>, Outcome> {
    let previewed = Sinew::embedded().jobs().recurring("preview").tz(&args.tz).dst(args.dst);
    let previewed = match (args.cron.as_ref().or(args.cron_option.as_ref()), args.every) {
        (Some(cron), _) => previewed.cron(cron),
        (None, Some(every)) => previewed.every(every),
        (None, None) => previewed,
    };
    let ticks = previewed.next(usize::from(args.count)).map_err(|e| Outcome::of(&e))?;
    Ok(ticks.into_iter().map(tick).collect())
}
