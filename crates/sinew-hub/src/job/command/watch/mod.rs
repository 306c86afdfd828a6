//! `sinew job watch`

mod rates;
mod screen;

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::{Timestamp, Zoned};
use serde::Serialize;
use sinew::job::Grain;

use super::list::name_shown;
use super::place::{Place, place, queue, queues};
use super::stats::periods;
use crate::cli::table::table;
use crate::cli::whose::Whose;
use crate::cli::{Outcome, print_json};
use crate::job::body::{PeriodBody, QueueBody};
use rates::{Counted, Ends, Rate, Rates, UNKNOWN, short, sparkline};
use screen::{Screen, line};

const EVERY: Duration = Duration::from_secs(1);
/// How many looks a sparkline goes back.
const LOOKS_SHOWN: usize = 12;
/// Jobs end in this minute, and have ended in the last since the look before.
const MINUTES: usize = 2;
/// Of how many queues it is asked at once what was counted.
const ASKED_AT_ONCE: usize = 16;

/// Which queues.
#[derive(Args)]
pub struct WatchArgs {
    /// Names of the only queues to show [default: all; on a terminal those with most jobs, as many as have room]
    queues: Vec<String>,
    /// End after so many looks
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print JSON, a line each look
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    whose: Whose,
}

/// What is seen of queues at once.
struct Look {
    at: Instant,
    queues: Vec<(QueueBody, BTreeMap<Timestamp, Ends>)>,
    /// How many more there are.
    others: usize,
}

/// What was seen of each queue so far.
#[derive(Default)]
struct Seen {
    of: BTreeMap<String, History>,
}

#[derive(Default)]
struct History {
    /// Nothing after a time in which nobody could look.
    last: Option<Counted>,
    rates: Option<Rates>,
    /// Of what was done, the newest at the end.
    done: VecDeque<Rate>,
}

/// For scripts.
#[derive(Serialize)]
struct LookLine<'a> {
    at: Timestamp,
    queues: Vec<QueueLine<'a>>,
}

#[derive(Serialize)]
struct QueueLine<'a> {
    #[serde(flatten)]
    queue: &'a QueueBody,
    /// Since the look before; null at first.
    done_per_second: Option<f64>,
    failed_per_second: Option<f64>,
}

pub(super) async fn watch(args: &WatchArgs) -> Result<(), Outcome> {
    let place = place(&args.whose).await?;
    let (mut screen, mut seen, mut shown) = (Screen::new(), Seen::default(), String::new());
    let mut looks = 0;
    loop {
        let rows = screen.rows().filter(|_| !args.json);
        match look(args, &place, rows).await {
            Ok(look) => {
                seen.add(&look);
                looks += 1;
                if args.json {
                    print_json(&seen.line(&look))?;
                } else {
                    shown = seen.text(&look, &title(args, &place));
                    screen.show(&shown);
                }
            }
            Err(missing @ Outcome::NoSuchJob(_)) if looks == 0 => return Err(missing),
            // Whoever watches is to see it come back.
            Err(Outcome::Failed(what) | Outcome::NoSuchJob(what)) => {
                seen.lose_sight();
                screen.trouble(&shown, &what);
            }
            Err(ended) => return Err(ended),
        }
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn title(args: &WatchArgs, place: &Place) -> String {
    let now = Zoned::now().strftime("%H:%M:%S").to_string();
    format!("{now}  Queues{} in {place}", args.whose.shown())
}

/// Of so many queues at most: those with most jobs.
async fn look(args: &WatchArgs, place: &Place, rows: Option<usize>) -> Result<Look, Outcome> {
    let mut found = match args.queues.is_empty() {
        true => queues(place).await?,
        false => try_join_all(args.queues.iter().map(|name| queue(place, name))).await?,
    };
    let all = found.len();
    if let Some(rows) = rows.filter(|rows| *rows < all) {
        found.sort_by_key(|queue| Reverse(jobs_of(queue)));
        found.truncate(rows);
        // Else they would change places all the time.
        found.sort_by(|one, other| one.queue.cmp(&other.queue));
    }
    let counted = found.into_iter().map(|queue| async move {
        let minutes = periods(place, &queue.queue, Grain::Minute, MINUTES).await?;
        let ended: BTreeMap<_, _> = minutes.iter().map(ends).collect();
        Ok::<_, Outcome>((queue, ended))
    });
    let queues: Vec<_> = stream::iter(counted).buffered(ASKED_AT_ONCE).try_collect().await?;
    Ok(Look { at: Instant::now(), others: all - queues.len(), queues })
}

fn jobs_of(queue: &QueueBody) -> u64 {
    let QueueBody { waiting, scheduled, running, dead, .. } = queue;
    [waiting, scheduled, running, dead]
        .into_iter()
        .fold(0_u64, |sum, jobs| sum.saturating_add(*jobs))
}

fn ends(minute: &PeriodBody) -> (Timestamp, Ends) {
    (minute.at, Ends { done: minute.ended.done, failed: minute.ended.failed + minute.ended.dead })
}

impl Seen {
    fn add(&mut self, look: &Look) {
        self.of.retain(|name, _| look.queues.iter().any(|(queue, _)| queue.queue == *name));
        for (queue, minutes) in &look.queues {
            let history = self.of.entry(queue.queue.clone()).or_default();
            history.add(Counted::new(look.at, minutes.clone()));
        }
    }

    /// What ends until the next look is not counted for a second.
    fn lose_sight(&mut self) {
        for history in self.of.values_mut() {
            (history.last, history.rates) = (None, None);
        }
    }

    fn rates(&self, queue: &QueueBody) -> Option<Rates> {
        self.of.get(&queue.queue).and_then(|history| history.rates)
    }

    fn line<'a>(&self, look: &'a Look) -> LookLine<'a> {
        let line = |queue: &'a QueueBody| {
            let rates = self.rates(queue);
            QueueLine {
                queue,
                done_per_second: rates.map(|rates| rates.done.number()),
                failed_per_second: rates.map(|rates| rates.failed.number()),
            }
        };
        let queues = look.queues.iter().map(|(queue, _)| line(queue)).collect();
        LookLine { at: Timestamp::now(), queues }
    }

    /// Lines that fit a terminal of 80 columns.
    fn text(&self, look: &Look, title: &str) -> String {
        let mut text = format!("{}\n", line(title));
        match look.queues.is_empty() {
            true => text.push_str("No queue yet.\n"),
            false => {
                let rows: Vec<[String; 8]> =
                    look.queues.iter().map(|(queue, _)| self.row(queue)).collect();
                let titles = [
                    "QUEUE",
                    "WAITING",
                    "SCHED",
                    "RUNNING",
                    "DEAD",
                    "DONE/S",
                    "FAIL/S",
                    "LAST 12 S",
                ];
                text.push_str(&table(titles, &rows));
            }
        }
        if look.others > 0 {
            let others = look.others;
            text.push_str(&line(&format!("{others} more: name those that are to be shown")));
            text.push('\n');
        }
        text
    }

    fn row(&self, queue: &QueueBody) -> [String; 8] {
        let rates = self.rates(queue);
        let rate = |rate: Option<Rate>| rate.map_or_else(|| UNKNOWN.to_owned(), Rate::shown);
        let done = self.of.get(&queue.queue).map(|history| &history.done);
        [
            name_shown(queue),
            short(queue.waiting),
            short(queue.scheduled),
            short(queue.running),
            short(queue.dead),
            rate(rates.map(|rates| rates.done)),
            rate(rates.map(|rates| rates.failed)),
            done.map(|done| sparkline(done.iter(), LOOKS_SHOWN)).unwrap_or_default(),
        ]
    }
}

impl History {
    fn add(&mut self, counted: Counted) {
        self.rates = self.last.as_ref().map(|before| counted.since(before));
        self.last = Some(counted);
        if let Some(rates) = self.rates {
            self.done.push_back(rates.done);
        }
        if self.done.len() > LOOKS_SHOWN {
            self.done.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use sinew::job::QueueLook;

    use super::*;

    fn look(at: Instant, done: u64) -> Look {
        let huge = QueueLook {
            partitions: 1,
            is_paused: true,
            waiting: 12_345_678,
            scheduled: 999_999,
            running: 100_000,
            dead: u64::from(u32::MAX),
            ..QueueLook::default()
        };
        let minute = Timestamp::from_second(60).unwrap();
        let minutes = BTreeMap::from([(minute, Ends { done, failed: done / 2 })]);
        let queues = vec![
            (QueueBody::new("mail", &QueueLook::default()), minutes),
            (QueueBody::new(&"long".repeat(30), &huge), BTreeMap::new()),
        ];
        Look { at, queues, others: 7 }
    }

    #[test]
    fn a_look_fits_80_columns_and_tells_how_fast_jobs_end() {
        let began = Instant::now();
        let mut seen = Seen::default();
        for second in 0..20 {
            seen.add(&look(began + Duration::from_secs(second), second * 1_000_000));
        }
        let last = look(began, 0);
        let text = seen.text(&last, &"in a place ".repeat(20));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(lines.len(), 5, "{text}");
        let mail = lines[2];
        assert!(mail.starts_with("mail ") && mail.ends_with(&"█".repeat(12)), "{text}");
        assert!(mail.contains(" 1.0M ") && mail.contains(" 500k "), "{text}");
        assert!(lines[3].contains("12.3M") && lines[3].contains("4.2G"), "{text}");
        assert!(lines[4].starts_with("7 more"), "{text}");
    }

    #[test]
    fn what_was_not_seen_twice_has_no_rate() {
        let began = Instant::now();
        let (mut seen, first) = (Seen::default(), look(began, 0));
        seen.add(&first);
        let rate = |seen: &Seen| {
            let line = serde_json::to_value(seen.line(&first)).unwrap();
            line["queues"][0]["done_per_second"].clone()
        };
        assert!(rate(&seen).is_null());
        seen.add(&look(began + Duration::from_secs(2), 5));
        assert_eq!(rate(&seen), 2.5);
        seen.lose_sight();
        assert!(rate(&seen).is_null(), "it may be any time ago");
        seen.add(&look(began + Duration::from_secs(9), 500));
        assert!(rate(&seen).is_null());
        let none = Look { at: began, queues: Vec::new(), others: 0 };
        seen.add(&none);
        assert!(seen.of.is_empty());
        assert_eq!(seen.text(&none, "Queues"), "Queues\nNo queue yet.\n");
    }
}
