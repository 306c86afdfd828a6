//! What was counted of a queue: by minute and by day, and of each kind.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use askama::Template;
use axum::Json;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sinew::job::{Grain, Period, QueueHandle};

use super::extract::{OfQueue, Whose};
use super::live::{Again, Seen, live};
use crate::dashboard::extract::Asked;
use crate::dashboard::show::{Fault, NOT_KNOWN};
use crate::job::body::{KindBody, PeriodBody};

const MINUTES: usize = 120;
const DAYS: usize = 60;
/// Of the newest minutes, for a rate: long enough not to jump about.
const RATE_MINUTES: usize = 5;
/// What jobs took at most, in milliseconds, as workers tell it; and then those that took longer.
const BOUNDS_MS: [u64; 16] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];
/// Of a histogram: its bars are so wide and so high at most.
const BAR_WIDTH: usize = 10;
const BAR_HEIGHT: u64 = 40;
const SPARK_HEIGHT: u64 = 24;
/// The kinds with most are shown.
const KINDS_MAX: usize = 50;

/// A minute or a day of a chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Point {
    /// Seconds since the Unix epoch
    at: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) dead: u64,
}

#[derive(Deserialize)]
pub(super) struct By {
    by: Step,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Minute,
    Day,
}

/// Of which time kinds are told.
#[derive(Default, Deserialize)]
pub(super) struct Over {
    #[serde(default)]
    over: Span,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Span {
    #[default]
    Hour,
    Day,
    Month,
}

impl Span {
    const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Month];

    fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Hour => "Last hour",
            Self::Day => "Today, in UTC",
            Self::Month => "30 days",
        }
    }

    fn read(self) -> (Grain, usize) {
        match self {
            Self::Hour => (Grain::Minute, 60),
            Self::Day => (Grain::Day, 1),
            Self::Month => (Grain::Day, 30),
        }
    }
}

#[derive(Template)]
#[template(path = "job_kinds.html")]
struct Kinds {
    choices: Vec<Choice>,
    rows: Vec<KindRow>,
    width: usize,
    more: usize,
}

struct Choice {
    label: &'static str,
    to: String,
    is_chosen: bool,
}

struct KindRow {
    kind: String,
    done: u64,
    failed: u64,
    dead: u64,
    half: String,
    most: String,
    told: String,
    bars: Vec<Bar>,
}

#[derive(Debug, PartialEq, Eq)]
struct Bar {
    x: usize,
    y: u64,
    height: u64,
    title: String,
}

/// The points of a chart, without a gap.
pub(super) async fn history(
    OfQueue { queue, .. }: OfQueue,
    Asked(By { by }): Asked<By>,
) -> Result<Json<Vec<Point>>, Fault> {
    let (grain, count, length) = match by {
        Step::Minute => (Grain::Minute, MINUTES, Duration::from_secs(60)),
        Step::Day => (Grain::Day, DAYS, Duration::from_secs(86_400)),
    };
    let periods = queue.stats(grain, count).await?;
    Ok(Json(points(&periods, length, now_of(&queue).await?, count)))
}

/// By the store's clock, which periods go by.
async fn now_of(queue: &QueueHandle) -> Result<SystemTime, Fault> {
    let look = queue.look().await?;
    Ok(look.map_or_else(SystemTime::now, |look| UNIX_EPOCH + Duration::from_millis(look.now_ms)))
}

/// So many up to now, oldest first.
pub(super) fn points(
    periods: &[Period],
    length: Duration,
    now: SystemTime,
    count: usize,
) -> Vec<Point> {
    let (length, now) = (length.as_secs().max(1), seconds(now));
    let last = now / length;
    let first = last.saturating_sub((count as u64).saturating_sub(1));
    let point = |index: u64| {
        let at = index * length;
        let found = periods.iter().find(|period| seconds(period.at) == at);
        let of = |name| found.and_then(|period| period.counts.get(name)).copied().unwrap_or(0);
        Point { at, done: of("done"), failed: of("failed"), dead: of("dead") }
    };
    (first..=last).map(point).collect()
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How many a minute, over the last minutes, of points of minutes.
pub(super) fn a_minute(points: &[Point], now: SystemTime, of: impl Fn(&Point) -> u64) -> String {
    let newest = &points[points.len().saturating_sub(RATE_MINUTES)..];
    let count: u64 = newest.iter().map(of).sum();
    // The last one is not over.
    let over = (newest.len() as u64).saturating_sub(1) * 60 + seconds(now) % 60;
    let tenths = count * 600 / over.max(1);
    match tenths {
        0 if count > 0 => "< 0.1".to_owned(),
        ..1_000 => format!("{}.{}", tenths / 10, tenths % 10),
        _ => (tenths / 10).to_string(),
    }
}

/// A line through points, as an SVG has it: 4 units wide each, and how high it is at most.
pub(super) fn line(points: &[Point], of: impl Fn(&Point) -> u64, most: u64) -> String {
    let at = |(index, point): (usize, &Point)| {
        format!("{},{}", index * 4, SPARK_HEIGHT - height(of(point), most, SPARK_HEIGHT))
    };
    points.iter().enumerate().map(at).collect::<Vec<_>>().join(" ")
}

/// Something is seen of what is not nothing.
fn height(count: u64, most: u64, height_max: u64) -> u64 {
    match (count, most) {
        (0, _) | (_, 0) => 0,
        _ => {
            let height = u128::from(count) * u128::from(height_max) / u128::from(most);
            u64::try_from(height).unwrap_or(height_max).clamp(1, height_max)
        }
    }
}

pub(super) async fn kinds(
    OfQueue { queue, whose, .. }: OfQueue,
    Asked(Over { over }): Asked<Over>,
    Asked(seen): Asked<Seen>,
) -> Response {
    let url = whose.with("/kinds", &[("over", over.name())]);
    live(table(&queue, &whose, over).await, Again { url, every: "5s", target: "kinds" }, &seen)
}

async fn table(queue: &QueueHandle, whose: &Whose, over: Span) -> Result<Kinds, Fault> {
    let (grain, count) = over.read();
    let mut kinds = sum(queue.stats(grain, count).await?);
    let more = kinds.len().saturating_sub(KINDS_MAX);
    kinds.truncate(KINDS_MAX);
    let choice = |span: Span| Choice {
        label: span.label(),
        to: whose.with("/kinds", &[("over", span.name())]),
        is_chosen: span == over,
    };
    Ok(Kinds {
        choices: Span::ALL.into_iter().map(choice).collect(),
        rows: kinds.into_iter().map(|(kind, body)| KindRow::of(kind, &body)).collect(),
        width: (BOUNDS_MS.len() + 1) * BAR_WIDTH,
        more,
    })
}

/// By kind, those first that ran most.
fn sum(periods: Vec<Period>) -> Vec<(String, KindBody)> {
    let mut whole = BTreeMap::<String, KindBody>::new();
    for (kind, part) in periods.into_iter().flat_map(|period| PeriodBody::from(period).kinds) {
        let known = whole.entry(kind).or_default();
        known.ended.done += part.ended.done;
        known.ended.failed += part.ended.failed;
        known.ended.snoozed += part.ended.snoozed;
        known.ended.dead += part.ended.dead;
        for (bound, count) in part.took_ms {
            *known.took_ms.entry(bound).or_default() += count;
        }
    }
    let mut whole: Vec<_> = whole.into_iter().collect();
    whole.sort_by_key(|(_, of)| std::cmp::Reverse(of.took_ms.values().sum::<u64>()));
    whole
}

impl KindRow {
    fn of(kind: String, body: &KindBody) -> Self {
        let mut counts = [0_u64; BOUNDS_MS.len() + 1];
        for (bound, count) in &body.took_ms {
            // What is no number is more than all of them.
            let bound = bound.parse().unwrap_or(u64::MAX);
            counts[BOUNDS_MS.partition_point(|of| *of < bound)] += count;
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        let bars = counts.iter().enumerate().map(|(index, count)| {
            let height = height(*count, most, BAR_HEIGHT);
            let title = format!("{}: {count}", bound(index));
            Bar { x: index * BAR_WIDTH, y: BAR_HEIGHT - height, height, title }
        });
        let told = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let told: Vec<String> =
            told.map(|(index, count)| format!("{count} {}", bound(index))).collect();
        Self {
            bars: bars.collect(),
            half: quantile(&counts, 50),
            most: quantile(&counts, 95),
            told: told.join(", "),
            done: body.ended.done,
            failed: body.ended.failed,
            dead: body.ended.dead,
            kind,
        }
    }
}

/// By when so many of a hundred have ended.
fn quantile(counts: &[u64], percent: u64) -> String {
    let all: u64 = counts.iter().sum();
    let mut so_far = 0;
    for (index, count) in counts.iter().enumerate() {
        so_far += count;
        if all > 0 && so_far * 100 >= all * percent {
            return bound(index);
        }
    }
    NOT_KNOWN.to_owned()
}

fn bound(index: usize) -> String {
    let text = |ms: u64| match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    };
    match (BOUNDS_MS.get(index), BOUNDS_MS.last()) {
        (Some(ms), _) => format!("≤ {}", text(*ms)),
        (None, Some(ms)) => format!("> {}", text(*ms)),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(minute: u64, counts: &[(&str, u64)]) -> Period {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count));
        Period { at: UNIX_EPOCH + Duration::from_secs(minute * 60), counts: counts.collect() }
    }

    fn minutes(periods: &[Period], now_s: u64, count: usize) -> Vec<Point> {
        let now = UNIX_EPOCH + Duration::from_secs(now_s);
        points(periods, Duration::from_secs(60), now, count)
    }

    #[test]
    fn a_minute_in_which_nothing_happened_is_a_point_too() {
        let points = minutes(&[period(10, &[("done", 5)]), period(12, &[("dead", 1)])], 750, 4);
        let told: Vec<_> = points.iter().map(|point| (point.at, point.done, point.dead)).collect();
        assert_eq!(told, [(540, 0, 0), (600, 5, 0), (660, 0, 0), (720, 0, 1)]);
        assert_eq!(line(&points, |point| point.done, 5), "0,24 4,0 8,24 12,24");
    }

    #[test]
    fn a_rate_is_of_the_last_minutes_with_the_one_that_is_not_over() {
        let now = UNIX_EPOCH + Duration::from_secs(630);
        let rate = |done| {
            let points = minutes(&[period(10, &[("done", done)])], 630, 30);
            a_minute(&points, now, |point| point.done)
        };
        // In 270 s.
        assert_eq!(
            (rate(0).as_str(), rate(9).as_str(), rate(9_000).as_str()),
            ("0.0", "2.0", "2000")
        );
        assert_eq!(a_minute(&[], now, |point| point.done), "0.0");
    }

    #[test]
    fn a_kind_tells_how_long_half_of_it_took_and_nearly_all() {
        let took_ms = [("1", 60_u64), ("20", 35), ("inf", 5)];
        let took_ms: BTreeMap<_, _> =
            took_ms.into_iter().map(|(bound, count)| (bound.to_owned(), count)).collect();
        let row = KindRow::of("mail".to_owned(), &KindBody { took_ms, ..KindBody::default() });
        assert_eq!((row.half.as_str(), row.most.as_str()), ("≤ 1 ms", "≤ 20 ms"));
        assert_eq!(row.told, "60 ≤ 1 ms, 35 ≤ 20 ms, 5 > 5 min");
        assert_eq!((row.bars.len(), row.bars[0].height, row.bars[1].height), (17, 40, 0));
        assert_eq!((row.bars[16].height, row.bars[16].y), (3, 37));
        let none = KindRow::of("mail".to_owned(), &KindBody::default());
        assert_eq!((none.half.as_str(), none.told.as_str()), ("–", ""));
    }

    #[test]
    fn kinds_of_all_periods_are_added_up() {
        let periods = vec![
            period(1, &[("k:a:done", 1), ("h:a:5", 1), ("k:b:done", 2), ("h:b:5", 2)]),
            period(2, &[("k:a:failed", 3), ("h:a:5", 3)]),
        ];
        let kinds = sum(periods);
        assert_eq!((kinds[0].0.as_str(), kinds[0].1.ended.failed), ("a", 3));
        assert_eq!((kinds[0].1.took_ms["5"], kinds[1].1.ended.done), (4, 2));
    }
}
