//! How long after someone begins to enqueue a job an idle worker begins to do it. One comes every four milliseconds, so
//! that whoever does them has long been waiting again. All who can run here are asked, each in the way it waits for jobs.
//!
//! A turn in which the machine stands still is made again, whoever's it is, as in the latency of streams.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle as Runtime;
use tokio::task::spawn_blocking;

use super::place::Place;
use super::side::{Side, Sides, System, until};
use super::{BAR, BULK};
use crate::measure::{Effort, Row, StandStill, p50_ms, p99_9_ms, p99_ms};
use crate::peer::jobs::{Carrier, Handle, Payload, number};

const EVERY: Duration = Duration::from_millis(4);
/// What a turn begins with, and does not count.
const WARM_UP: Duration = Duration::from_millis(300);
/// Of each, one after the other.
const TURNS: u32 = 8;
/// For how long no turn that counts was held up by the machine.
const HELD_UP_MAX: Duration = Duration::from_millis(20);
/// How many turns of each are made again at most. Those after that count as they are.
const AGAIN_MAX: u32 = TURNS;
/// Hardly any job is there at the same time as another. Who wakes all that wait for one has few to wake.
const CONCURRENCY: usize = 4;

/// Title, unit, what is made of all delays, and what was promised.
type Asked = (&'static str, &'static str, fn(Vec<Duration>) -> f64, Option<f64>);

/// Of a server that is near.
pub const NEAR: [Asked; 3] = [
    ("job.pickup_p50", "ms p50", p50_ms, Some(0.4)),
    ("job.pickup_p99", "ms p99", p99_ms, Some(0.8)),
    ("job.pickup_p99_9", "ms p99.9", p99_9_ms, Some(3.0)),
];
/// Of one that is farther away.
pub const FAR: [Asked; 2] = [
    ("job.far_pickup_p50", "ms p50", p50_ms, None),
    ("job.far_pickup_p99", "ms p99", p99_ms, None),
];

pub async fn rows(effort: Effort, place: &Place, sides: &Sides, asked: &[Asked]) -> Vec<Row> {
    let time = effort.each * u32::try_from(effort.rounds).expect("few") / TURNS;
    let mut all: Vec<Late> = sides.of(|_| true).into_iter().map(Late::new).collect();
    for turn in 0..TURNS {
        for late in &mut all {
            let name = late.system.name();
            let (title, ..) = asked[0];
            eprint!("\r{title}: turn {} of {TURNS}, {time:?} each, {name:<20}", turn + 1);
            late.turn(place, time).await;
        }
    }
    let again: u32 = all.iter().map(|late| late.again).sum();
    eprintln!("; {again} again, since the machine stood still");
    let (ours, peers): (Vec<Late>, Vec<Late>) =
        all.into_iter().partition(|late| late.system == System::Ours);
    let [ours] = &ours[..] else { panic!("ours runs everywhere") };
    let mut rows = Vec::new();
    for &(title, unit, made, bar) in asked {
        let ours = made(ours.delays.clone());
        for Late { system, delays, .. } in &peers {
            rows.push(Row::of_times(title, system.name(), ours, made(delays.clone()), unit));
        }
        rows.extend(sides.absent(title));
        rows.extend(bar.map(|bar| Row::of_times(title, BAR, ours, bar, unit)));
    }
    rows
}

/// One of them, and how late jobs began there.
struct Late<'a> {
    system: System,
    side: &'a Side,
    delays: Vec<Duration>,
    /// How many turns were made again.
    again: u32,
}

impl<'a> Late<'a> {
    fn new((system, side): (System, &'a Side)) -> Self {
        Self { system, side, delays: Vec::new(), again: 0 }
    }

    async fn turn(&mut self, place: &Place, time: Duration) {
        loop {
            place.clear().await;
            let still = StandStill::watch();
            let delays = match self.side {
                Side::Here(carrier) => delays(carrier, time).await,
                Side::Node(process) => process.pickup(time).await,
            };
            if still.longest() < HELD_UP_MAX || self.again == AGAIN_MAX {
                return self.delays.extend(delays);
            }
            self.again += 1;
        }
    }
}

async fn delays(carrier: &Arc<dyn Carrier>, time: Duration) -> Vec<Duration> {
    // A job says when its enqueueing began, in nanoseconds since then.
    let since = Instant::now();
    let (delays, done) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let (noted, count) = (Arc::clone(&delays), Arc::clone(&done));
    let handle: Handle = Arc::new(move |text: &str| {
        let (now, began) = (since.elapsed(), Duration::from_nanos(number(text)));
        noted.lock().expect("no panic").push((began, now.saturating_sub(began)));
        count.fetch_add(1, Ordering::Relaxed);
    });
    let working = carrier.work(handle, CONCURRENCY).await;
    // Until then, it begins.
    carrier.enqueue_many(Payload::many(0, BULK)).await;
    until(&done, BULK).await;

    let counts_from = since.elapsed() + WARM_UP;
    let enqueued = enqueue_evenly(carrier, since, WARM_UP + time).await;
    let counts_to = since.elapsed();
    until(&done, BULK + enqueued).await;
    working.stop().await;
    let all = std::mem::take(&mut *delays.lock().expect("no panic"));
    let counted = all.into_iter().filter(|(began, _)| (counts_from..=counts_to).contains(began));
    counted.map(|(_, delay)| delay).collect()
}

/// By a thread, since a timer of the runtime is no finer than a millisecond. How many it were.
async fn enqueue_evenly(carrier: &Arc<dyn Carrier>, since: Instant, time: Duration) -> u64 {
    let (carrier, runtime) = (Arc::clone(carrier), Runtime::current());
    let enqueueing = spawn_blocking(move || {
        let (first, mut tasks) = (Instant::now(), Vec::new());
        while first.elapsed() < time {
            let due = EVERY * u32::try_from(tasks.len()).expect("a short time");
            std::thread::sleep(due.saturating_sub(first.elapsed()));
            let (carrier, began) = (Arc::clone(&carrier), since.elapsed());
            tasks.push(runtime.spawn(async move {
                let nanos = u64::try_from(began.as_nanos()).expect("a short time");
                carrier.enqueue(Payload::new(nanos)).await;
            }));
        }
        tasks
    });
    let tasks = enqueueing.await.expect("a thread that does not panic");
    let enqueued = tasks.len() as u64;
    for task in tasks {
        task.await.expect("a task that does not panic");
    }
    enqueued
}
