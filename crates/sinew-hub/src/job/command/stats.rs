//! `sinew job stats`

use std::collections::BTreeMap;

use clap::Args;
use jiff::tz::TimeZone;
use sinew::job::Grain;

use super::place::{Place, asking, failed, get, place, queue};
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::job::body::{EndedBody, KindBody, PeriodBody};

/// Of which queue, and how far back.
#[derive(Args)]
pub struct StatsArgs {
    /// Name of the queue
    queue: String,
    /// By the day, of the last 400, not by the minute, of the last 26 hours
    #[arg(long)]
    days: bool,
    /// How many minutes or days in which anything was counted: 1 to 2000
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=2000))]
    count: u16,
    /// By kind of job, all of that time together, with how long they took
    #[arg(long)]
    kinds: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

pub(super) async fn stats(args: &StatsArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let grain = if args.days { Grain::Day } else { Grain::Minute };
    let periods = periods(&place, &args.queue, grain, usize::from(args.count)).await?;
    if periods.is_empty() {
        queue(&place, &args.queue).await?;
    }
    if args.json {
        return print_json(&periods);
    }
    if periods.is_empty() {
        println!("Nothing was counted of queue {:?}{} in {place}.", args.queue, args.whose.shown());
        return Ok(());
    }
    match args.kinds {
        true => {
            let kinds = by_kind(&periods);
            let rows: Vec<[String; 7]> = kinds.iter().map(kind_row).collect();
            let titles = ["KIND", "DONE", "FAILED", "SNOOZED", "DEAD", "HALF", "99 %"];
            print!("{}", table(titles, &rows));
        }
        false => {
            let rows: Vec<[String; 7]> = periods.iter().map(|of| row(grain, of)).collect();
            let began = if args.days { "DAY (UTC)" } else { "MINUTE (UTC)" };
            let titles = [began, "DONE", "FAILED", "SNOOZED", "DEAD", "CRASHED", "LOST"];
            print!("{}", table(titles, &rows));
        }
    }
    Ok(())
}

/// The newest minutes or days in which anything was counted, the oldest of them first.
pub(super) async fn periods(
    place: &Place,
    queue: &str,
    grain: Grain,
    count: usize,
) -> Result<Vec<PeriodBody>, Outcome> {
    match place {
        Place::Redis(jobs, _) => {
            let found = jobs.queue(queue).stats(grain, count).await.map_err(failed)?;
            Ok(found.into_iter().map(PeriodBody::from).collect())
        }
        Place::Hub(hub) => {
            let name = match grain {
                Grain::Minute => "minute",
                Grain::Day => "day",
            };
            let count = count.to_string();
            let questions = [("grain", Some(name)), ("count", Some(count.as_str()))];
            get(&asking(hub.request(&[queue, "stats"])?, &questions)).await
        }
    }
}

fn row(grain: Grain, of: &PeriodBody) -> [String; 7] {
    let began = of.at.to_zoned(TimeZone::UTC);
    let began = match grain {
        Grain::Minute => began.strftime("%Y-%m-%d %H:%M"),
        Grain::Day => began.strftime("%Y-%m-%d"),
    };
    let EndedBody { done, failed, snoozed, dead } = of.ended;
    let counts = [done, failed, snoozed, dead, of.crashed, of.lost].map(|count| count.to_string());
    let [done, failed, snoozed, dead, crashed, lost] = counts;
    [began.to_string(), done, failed, snoozed, dead, crashed, lost]
}

/// What was counted of each kind, in all periods.
fn by_kind(periods: &[PeriodBody]) -> BTreeMap<&str, KindBody> {
    let mut kinds: BTreeMap<&str, KindBody> = BTreeMap::new();
    for (name, kind) in periods.iter().flat_map(|period| &period.kinds) {
        let whole = kinds.entry(name).or_default();
        whole.ended.done += kind.ended.done;
        whole.ended.failed += kind.ended.failed;
        whole.ended.snoozed += kind.ended.snoozed;
        whole.ended.dead += kind.ended.dead;
        for (bound, count) in &kind.took_ms {
            *whole.took_ms.entry(bound.clone()).or_default() += count;
        }
    }
    kinds
}

fn kind_row((name, kind): (&&str, &KindBody)) -> [String; 7] {
    let EndedBody { done, failed, snoozed, dead } = kind.ended;
    [
        (*name).to_owned(),
        done.to_string(),
        failed.to_string(),
        snoozed.to_string(),
        dead.to_string(),
        at_most(&kind.took_ms, 50),
        at_most(&kind.took_ms, 99),
    ]
}

/// How long so many in a hundred took at most, as far as bounds tell.
fn at_most(took_ms: &BTreeMap<String, u64>, share: u64) -> String {
    // What is no number is the last: longer than any bound.
    let mut bounds: Vec<(u64, u64)> =
        took_ms.iter().map(|(bound, count)| (bound.parse().unwrap_or(u64::MAX), *count)).collect();
    bounds.sort_unstable();
    let all: u64 = bounds.iter().map(|(_, count)| count).sum();
    let (mut counted, mut before) = (0, 0);
    for (bound, count) in bounds {
        counted += count;
        if u128::from(counted) * 100 >= u128::from(all) * u128::from(share) {
            return match bound {
                u64::MAX => format!("> {}", in_words(before)),
                bound => format!("≤ {}", in_words(bound)),
            };
        }
        before = bound;
    }
    "–".to_owned()
}

fn in_words(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        ms => format!("{} s", ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn kind(took_ms: &[(&str, u64)]) -> KindBody {
        let took_ms = took_ms.iter().map(|(bound, count)| ((*bound).to_owned(), *count));
        let ended = EndedBody { done: 1, ..EndedBody::default() };
        KindBody { ended, took_ms: took_ms.collect() }
    }

    #[test]
    fn kinds_are_added_up_over_all_periods() {
        let period = |kind| PeriodBody {
            kinds: BTreeMap::from([("email.send".to_owned(), kind)]),
            ..PeriodBody::default()
        };
        let periods = [period(kind(&[("20", 1)])), period(kind(&[("20", 2), ("inf", 1)]))];
        let all = by_kind(&periods);
        let whole = &all["email.send"];
        assert_eq!((whole.ended.done, whole.took_ms["20"], whole.took_ms["inf"]), (2, 3, 1));
        let row = all.iter().map(kind_row).next().unwrap();
        assert_eq!(row, ["email.send", "2", "0", "0", "0", "≤ 20 ms", "> 20 ms"]);
    }

    #[test]
    fn bounds_are_gone_through_as_numbers() {
        let took = kind(&[("1000", 1), ("5", 98), ("inf", 1)]).took_ms;
        assert_eq!((at_most(&took, 50), at_most(&took, 99)), ("≤ 5 ms".into(), "≤ 1 s".into()));
        assert_eq!(at_most(&took, 100), "> 1 s");
        assert_eq!(at_most(&BTreeMap::new(), 50), "–");
    }

    #[test]
    fn a_period_is_told_by_when_it_began() {
        let period =
            PeriodBody { at: Timestamp::from_second(86_460).unwrap(), ..PeriodBody::default() };
        assert_eq!(row(Grain::Minute, &period)[0], "1970-01-02 00:01");
        assert_eq!(row(Grain::Day, &period)[0], "1970-01-02");
    }
}
