//! How long a partition of an ordered group lies idle when a member comes or goes: from the end of the last
//! run of one owner to the begin of the first of the next. There is always something to run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sinew::Sinew;
use sinew::stream::{Ack, Ctx, Event, Streams, Subscription};

use super::{BAR, PARTITIONS, Place, streams};
use crate::measure::{Effort, Row, p99_ms};
use crate::peer::streams::GROUP;

const TOPIC: &str = "handed-over";
const KEYS: u64 = 96;
const PUBLISH_EVERY: Duration = Duration::from_millis(20);
/// How often a member comes or goes.
const CHANGE_EVERY: Duration = Duration::from_secs(2);
const BAR_MS: f64 = 1_000.0;

pub async fn row(effort: Effort, place: &Place) -> Row {
    let orders = streams(&place.sinew);
    orders.topic(TOPIC).partitions(PARTITIONS).declare().await.expect("a topic");
    let runs = Runs::default();
    let stays = [join(&place.url, &runs).await, join(&place.url, &runs).await];
    let running = Arc::new(AtomicBool::new(true));
    let publishing = tokio::spawn(publish(orders, Arc::clone(&running)));
    // The first shares are no hand-overs.
    tokio::time::sleep(2 * CHANGE_EVERY).await;
    runs.forget();
    let guests = effort.rounds.div_ceil(4);
    for guest in 0..guests {
        eprint!("\rstream.hand_over: guest {} of {guests}", guest + 1);
        let (_sinew, guest) = join(&place.url, &runs).await;
        tokio::time::sleep(CHANGE_EVERY).await;
        guest.stop().await.expect("an end");
        tokio::time::sleep(CHANGE_EVERY).await;
    }
    eprintln!();
    running.store(false, Ordering::Relaxed);
    publishing.await.expect("a task that does not panic");
    drop(stays);
    place.clear().await;
    let hand_overs = runs.hand_overs();
    assert!(!hand_overs.is_empty(), "no partition changed hands");
    Row::of_times("stream.hand_over_p99", BAR, p99_ms(hand_overs), BAR_MS, "ms p99")
}

/// A member with a connection of its own, as another process has.
async fn join(url: &str, runs: &Runs) -> (Sinew, Subscription) {
    let sinew = Sinew::connect(url).await.expect("a connection");
    let runs = runs.clone();
    let handler = move |event: Event<u64>, cx: Ctx| {
        let runs = runs.clone();
        async move {
            let began = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let fence = cx.fence().expect("an ordered group").get();
            runs.note(event.place().partition, fence, began, Instant::now());
            Ok(Ack::Done)
        }
    };
    let member = streams(&sinew).subscribe::<u64>(TOPIC, GROUP).ordered_by_key(PARTITIONS);
    let member = member.concurrency(64).start(handler).expect("a subscription");
    (sinew, member)
}

async fn publish(streams: Streams, running: Arc<AtomicBool>) {
    while running.load(Ordering::Relaxed) {
        let all = streams.publish_many(TOPIC, 0..KEYS).key(|key: &u64| key.to_string());
        all.await.expect("published");
        tokio::time::sleep(PUBLISH_EVERY).await;
    }
}

/// Partition and fence: when the first run with it began, and the last one ended.
type Spans = BTreeMap<(u16, u64), (Instant, Instant)>;

#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Spans>>);

impl Runs {
    fn note(&self, partition: u16, fence: u64, began: Instant, ended: Instant) {
        let mut spans = self.0.lock().expect("no panic");
        let span = spans.entry((partition, fence)).or_insert((began, ended));
        *span = (span.0.min(began), span.1.max(ended));
    }

    fn forget(&self) {
        self.0.lock().expect("no panic").clear();
    }

    fn hand_overs(&self) -> Vec<Duration> {
        let spans = self.0.lock().expect("no panic");
        let spans: Vec<_> = spans.iter().collect();
        let of_one = spans.windows(2).filter(|pair| pair[0].0.0 == pair[1].0.0);
        let idle = of_one.map(|pair| {
            let (ended, begins) = (pair[0].1.1, pair[1].1.0);
            assert!(ended <= begins, "two owners at one moment");
            begins - ended
        });
        idle.collect()
    }
}
