//! What a job costs in a queue in which a million others wait, or in which a million are due at once, beside what it
//! costs in one that is empty. Both queues are on one server, and take turns.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use sinew::job::{Grain, JobState};

use super::ours::Ours;
use super::place::Place;
use super::side::{counting, until};
use super::{BAR, CONCURRENCY};
use crate::measure::{Effort, Row, median, p50_ms};
use crate::peer::jobs::Carrier as _;

/// The argument that asks for ten times as many, by hand.
pub const TEN_MILLION: &str = "job-ten-million";

const MILLION: u64 = 1_000_000;
/// Where there is no time for a million.
const MILLION_IF_QUICK: u64 = 100_000;
/// How many are enqueued, and then done, in a turn.
const STEP: u64 = 50_000;
/// So many are to be there within a second at least, before they are due.
const FILLED_PER_S: u64 = 60_000;
const PAGE: usize = 50;
const MINUTES: usize = 60;
/// How often people look.
const LOOKS: usize = 200;

/// The peer of rows: a queue in which nothing waits.
const EMPTY: &str = "empty queue";
/// Of what it comes to.
const BAR_OF_RATE: (&str, f64) = ("bar: 0.8 of an empty queue", 0.8);
const BAR_OF_COST: (&str, f64) = ("bar: 1.25 of an empty queue", 1.25);
const BAR_BYTES: f64 = 420.0;
/// Of the server's time.
const IN_SCRIPTS: &str = "us of server a job";

/// What rows are called, which say how many jobs it were.
struct Titles {
    enqueue: &'static str,
    put: &'static str,
    consume: &'static str,
    turn: &'static str,
    page: &'static str,
    stats: &'static str,
    memory: &'static str,
    due_consume: &'static str,
    due_turn: &'static str,
}

macro_rules! titles {
    ($jobs:literal) => {
        Titles {
            enqueue: concat!("job.waiting_", $jobs, "_enqueue_many"),
            put: concat!("job.waiting_", $jobs, "_put"),
            consume: concat!("job.waiting_", $jobs, "_consume"),
            turn: concat!("job.waiting_", $jobs, "_turn"),
            page: concat!("job.waiting_", $jobs, "_page"),
            stats: concat!("job.waiting_", $jobs, "_stats"),
            memory: concat!("job.waiting_", $jobs, "_memory"),
            due_consume: concat!("job.due_", $jobs, "_consume"),
            due_turn: concat!("job.due_", $jobs, "_turn"),
        }
    };
}

const OF_100K: Titles = titles!("100k");
const OF_1M: Titles = titles!("1m");
const OF_10M: Titles = titles!("10m");

pub async fn rows(effort: Effort, place: &Place) -> Vec<Row> {
    let ours = Ours::connect(&place.url).await;
    let (jobs, titles) = match effort.rounds < Effort::FULL.rounds {
        true => (MILLION_IF_QUICK, OF_100K),
        false => (MILLION, OF_1M),
    };
    let (mut rows, empty) = waiting(effort, place, &ours, jobs, &titles).await;
    rows.extend(due(place, jobs, empty, &titles).await);
    rows
}

pub async fn ten_million(effort: Effort, place: &Place) -> Vec<Row> {
    let ours = Ours::connect(&place.url).await;
    waiting(effort, place, &ours, 10 * MILLION, &OF_10M).await.0
}

/// What so many jobs came to in one queue: how many a second, and for how long the server was in scripts, in
/// microseconds a job.
#[derive(Clone, Copy)]
struct Cost {
    enqueued: f64,
    put_us: f64,
    done: f64,
    turn_us: f64,
}

/// Beside the rows, what jobs came to in an empty queue.
async fn waiting(
    effort: Effort,
    place: &Place,
    ours: &Ours,
    jobs: u64,
    titles: &Titles,
) -> (Vec<Row>, Cost) {
    place.clear().await;
    let (long, before) = (ours.queue("long"), place.used_memory().await);
    eprint!("\r{}: {jobs} jobs", titles.enqueue);
    long.fill(jobs, None).await;
    let bytes = (place.used_memory().await - before) / jobs as f64;
    let (mut in_long, mut in_empty) = (Vec::new(), Vec::new());
    let rounds = effort.rounds.div_ceil(8);
    for round in 0..rounds {
        eprint!("\r{}: {jobs} jobs, round {} of {rounds}", titles.enqueue, round + 1);
        // A new one each time: what is enqueued in a turn is all done by its end, but nobody knows the name.
        let empty = ours.queue(format!("empty-{round}"));
        if round % 2 == 0 {
            in_empty.push(step(place, &empty).await);
            in_long.push(step(place, &long).await);
        } else {
            in_long.push(step(place, &long).await);
            in_empty.push(step(place, &empty).await);
        }
    }
    eprintln!();
    let (in_long, in_empty) = (median_cost(&in_long), median_cost(&in_empty));
    let (page, stats) = looked_at(&long).await;
    // One that has been used, so that there is as much to tell of it.
    let short = ours.queue("short");
    step(place, &short).await;
    short.fill(2 * PAGE as u64, None).await;
    let (short_page, short_stats) = looked_at(&short).await;
    place.clear().await;

    let mut rows = of_rates(titles.enqueue, in_long.enqueued, in_empty.enqueued);
    rows.extend(of_costs(titles.put, in_long.put_us, in_empty.put_us, IN_SCRIPTS));
    rows.extend(of_rates(titles.consume, in_long.done, in_empty.done));
    rows.extend(of_costs(titles.turn, in_long.turn_us, in_empty.turn_us, IN_SCRIPTS));
    rows.extend(of_costs(titles.page, page, short_page, "ms p50"));
    rows.extend(of_costs(titles.stats, stats, short_stats, "ms p50"));
    rows.push(Row::of_times(titles.memory, BAR, bytes, BAR_BYTES, "bytes a job"));
    (rows, in_empty)
}

/// All are delayed to the same moment, and nobody looks until then.
async fn due(place: &Place, jobs: u64, empty: Cost, titles: &Titles) -> Vec<Row> {
    place.clear().await;
    // A connection that has not heard of the server while it was cleared may take a while to.
    let queue = Ours::connect(&place.url).await.queue("due");
    let due = SystemTime::now() + Duration::from_secs(jobs.div_ceil(FILLED_PER_S));
    eprintln!("{}: {jobs} jobs", titles.due_consume);
    queue.fill(jobs, Some(due)).await;
    match due.duration_since(SystemTime::now()) {
        Ok(left) => tokio::time::sleep(left).await,
        Err(_) => eprintln!("{}: some were due before all were there", titles.due_consume),
    }
    let (done, turn_us) = consumed(place, &queue, jobs / 10 * 3).await;
    place.clear().await;
    let mut rows = of_rates(titles.due_consume, done, empty.done);
    rows.extend(of_costs(titles.due_turn, turn_us, empty.turn_us, IN_SCRIPTS));
    rows
}

/// Enqueues so many, and does as many.
async fn step(place: &Place, queue: &Ours) -> Cost {
    let (before_us, began) = (place.in_scripts_us().await, Instant::now());
    queue.fill(STEP, None).await;
    let enqueued = STEP as f64 / began.elapsed().as_secs_f64();
    let put_us = (place.in_scripts_us().await - before_us) / STEP as f64;
    let (done, turn_us) = consumed(place, queue, STEP).await;
    Cost { enqueued, put_us, done, turn_us }
}

async fn consumed(place: &Place, queue: &Ours, jobs: u64) -> (f64, f64) {
    let (handle, done) = counting();
    let before_us = place.in_scripts_us().await;
    let working = queue.work(handle, CONCURRENCY).await;
    let (first, began) = until(&done, 1).await;
    let (last, ended) = until(&done, jobs).await;
    let us = place.in_scripts_us().await - before_us;
    // Those that were done while it answered are in it.
    let all = done.load(Ordering::Relaxed);
    working.stop().await;
    ((last - first) as f64 / (ended - began).as_secs_f64(), us / all as f64)
}

fn median_cost(costs: &[Cost]) -> Cost {
    let of = |number: fn(&Cost) -> f64| median(costs.iter().map(number).collect());
    Cost {
        enqueued: of(|cost| cost.enqueued),
        put_us: of(|cost| cost.put_us),
        done: of(|cost| cost.done),
        turn_us: of(|cost| cost.turn_us),
    }
}

/// What the page of a dashboard takes, and the numbers on it, in milliseconds.
async fn looked_at(queue: &Ours) -> (f64, f64) {
    let (queue, mut pages, mut stats) = (queue.handle(), Vec::new(), Vec::new());
    for _ in 0..LOOKS {
        let began = Instant::now();
        let page = queue.list(JobState::Waiting, None, PAGE).await.expect("a page");
        pages.push(began.elapsed());
        assert_eq!(page.jobs.len(), PAGE, "more than a page waits");
        let began = Instant::now();
        queue.look().await.expect("an answer").expect("a queue");
        queue.stats(Grain::Minute, MINUTES).await.expect("an answer");
        stats.push(began.elapsed());
    }
    (p50_ms(pages), p50_ms(stats))
}

fn of_rates(bench: &'static str, ours: f64, empty: f64) -> Vec<Row> {
    let (bar, part) = BAR_OF_RATE;
    vec![Row::of_rates(bench, EMPTY, ours, empty), Row::of_rates(bench, bar, ours, part * empty)]
}

fn of_costs(bench: &'static str, ours: f64, empty: f64, unit: &'static str) -> Vec<Row> {
    let (bar, times) = BAR_OF_COST;
    vec![
        Row::of_times(bench, EMPTY, ours, empty, unit),
        Row::of_times(bench, bar, ours, times * empty, unit),
    ]
}
