//! How long after someone begins to publish an event its handler has it, at 10,000 events a second, each
//! published by itself.
//!
//! A machine that is not alone on its host stands still now and then, for a tenth of a second: that alone
//! decides what 99 of 100 events keep to, for whoever has the turn. Such a turn is made again, whoever's it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::runtime::Handle as Runtime;
use tokio::task::spawn_blocking;

use super::{BAR, BATCH, Ours, Place, RAW, SEA_STREAMER, batch, event, number, until_acked};
use crate::measure::{Effort, Row, StandStill, p50_ms, p99_ms};
use crate::peer::streams::{Carrier, Handle, Line, Raw, SeaStreamer};

const EVERY: Duration = Duration::from_micros(100);
/// What a turn begins with, and does not count.
const WARM_UP: Duration = Duration::from_millis(500);
/// Of each side, one after the other.
const TURNS: u32 = 8;
/// For how long no turn that counts was held up by the machine: longer than two busy cores let a thread wait.
const HELD_UP_MAX: Duration = Duration::from_millis(20);
/// How many turns of all sides are made again at most. Those after that count as they are.
const AGAIN_MAX: u32 = TURNS;
const BAR_P50_MS: f64 = 0.5;
const BAR_P99_MS: f64 = 2.0;

pub async fn rows(effort: Effort, place: &Place) -> Vec<Row> {
    let time = effort.each * u32::try_from(effort.rounds).expect("few") / TURNS;
    let (our, raw) = (Ours::new(place), Raw::new(&place.url, 1));
    let sea = SeaStreamer::rolling(&place.url);
    let mut turns = Turns { place, time, again: 0 };
    let (mut ours, mut raws, mut seas) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..TURNS {
        eprint!("\rstream.latency: turn {} of {TURNS}, {time:?} each", turn + 1);
        ours.extend(turns.delays(&our).await);
        raws.extend(turns.delays(&raw).await);
        seas.extend(turns.delays(&sea).await);
    }
    eprintln!("; {} again, since the machine stood still", turns.again);
    let p50 = |peer, theirs| {
        Row::of_times("stream.latency_p50", peer, p50_ms(ours.clone()), theirs, "ms p50")
    };
    let p99 = |peer, theirs| {
        Row::of_times("stream.latency_p99", peer, p99_ms(ours.clone()), theirs, "ms p99")
    };
    vec![
        p50(RAW, p50_ms(raws.clone())),
        p50(SEA_STREAMER, p50_ms(seas.clone())),
        p50(BAR, BAR_P50_MS),
        p99(RAW, p99_ms(raws)),
        p99(SEA_STREAMER, p99_ms(seas)),
        p99(BAR, BAR_P99_MS),
    ]
}

struct Turns<'a> {
    place: &'a Place,
    time: Duration,
    /// How many were made again.
    again: u32,
}

impl Turns<'_> {
    async fn delays(&mut self, carrier: &impl Carrier) -> Vec<Duration> {
        loop {
            let still = StandStill::watch();
            let delays = delays(self.place, carrier, self.time).await;
            if still.longest() < HELD_UP_MAX || self.again == AGAIN_MAX {
                return delays;
            }
            self.again += 1;
        }
    }
}

async fn delays(place: &Place, carrier: &impl Carrier, time: Duration) -> Vec<Duration> {
    // An event says when its publish began, in nanoseconds since then.
    let since = Instant::now();
    let (delays, handled) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let (noted, count) = (Arc::clone(&delays), Arc::clone(&handled));
    let handle: Handle = Arc::new(move |data: &[u8]| {
        let (now, began) = (since.elapsed(), Duration::from_nanos(number(data)));
        noted.lock().expect("no panic").push((began, now.saturating_sub(began)));
        count.fetch_add(1, Ordering::Relaxed);
    });
    let line = Arc::new(carrier.open(place.new_topic(), Some(handle)).await);
    // Until then, someone joins a group.
    line.publish(batch(0)).await;
    until_acked(&*line, &handled, BATCH).await;

    let counts_from = since.elapsed() + WARM_UP;
    let published = publish_evenly(&line, since, WARM_UP + time).await;
    let counts_to = since.elapsed();
    until_acked(&*line, &handled, BATCH + published).await;
    drop(line);
    place.clear().await;
    let all = std::mem::take(&mut *delays.lock().expect("no panic"));
    let counted = all.into_iter().filter(|(began, _)| (counts_from..=counts_to).contains(began));
    counted.map(|(_, delay)| delay).collect()
}

/// By a thread, since a timer of the runtime is no finer than a millisecond. How many it were.
async fn publish_evenly(line: &Arc<impl Line>, since: Instant, time: Duration) -> u64 {
    let (line, runtime) = (Arc::clone(line), Runtime::current());
    let publishing = spawn_blocking(move || {
        let (began, mut tasks) = (Instant::now(), Vec::new());
        while began.elapsed() < time {
            let due = EVERY * u32::try_from(tasks.len()).expect("a short time");
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let line = Arc::clone(&line);
            let began = since.elapsed();
            tasks.push(runtime.spawn(async move {
                let nanos = u64::try_from(began.as_nanos()).expect("a short time");
                line.publish_one(event(nanos)).await;
            }));
        }
        tasks
    });
    let tasks = publishing.await.expect("a thread that does not panic");
    let published = tasks.len() as u64;
    for task in tasks {
        task.await.expect("a task that does not panic");
    }
    published
}
