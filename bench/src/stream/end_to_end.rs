//! From publish to ack, in one process: publishing, handling and acking are under way at the same time, and a
//! turn is over when all is acked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{
    BATCH, Ours, PARTITIONS, PUBLISHERS, Place, RAW, SEA_STREAMER, batch, counting, until_acked,
};
use crate::measure::{Effort, Row, in_turn};
use crate::peer::streams::{Carrier, Line as _, Raw, SeaStreamer};

const BENCH: &str = "stream.end_to_end";
/// How far publishers are ahead of handlers at most.
const AHEAD_MAX: u64 = 16_384;
/// Of the bare commands, and of the other library.
const BAR_OF_RAW: f64 = 0.4;
const BAR_OF_SEA_STREAMER: f64 = 3.5;

pub async fn rows(effort: Effort, place: &Place) -> Vec<Row> {
    let (our, raw) = (Ours::new(place), Raw::new(&place.url, 1));
    let (ours, theirs) = beside(effort, BENCH, place, &our, &raw).await;
    let mut rows = vec![
        Row::of_rates(BENCH, RAW, ours, theirs),
        Row::of_rates(BENCH, "bar: 0.4 of raw", ours, BAR_OF_RAW * theirs),
    ];
    let sea = faster(effort, place).await;
    let (ours, theirs) = beside(effort, BENCH, place, &our, &sea).await;
    rows.push(Row::of_rates(BENCH, SEA_STREAMER, ours, theirs));
    let bar = BAR_OF_SEA_STREAMER * theirs;
    rows.push(Row::of_rates(BENCH, "bar: 3.5 of sea-streamer-redis", ours, bar));
    let unacked = SeaStreamer::unacked(&place.url);
    let (ours, theirs) = beside(effort, BENCH, place, &our, &unacked).await;
    rows.push(Row::of_rates(BENCH, "sea-streamer-redis without acks", ours, theirs));
    rows
}

/// The same in order of keys, beside bare commands on as many streams, whose one reader keeps the order.
pub async fn ordered(effort: Effort, place: &Place) -> Row {
    let (our, raw) = (Ours::ordered(place), Raw::new(&place.url, PARTITIONS.into()));
    let (ours, theirs) = beside(effort, "stream.ordered", place, &our, &raw).await;
    Row::of_rates("stream.ordered", RAW, ours, theirs)
}

/// It has two ways to ack, of which the faster one counts.
async fn faster(effort: Effort, place: &Place) -> SeaStreamer {
    let (rolling, delayed) = (SeaStreamer::rolling(&place.url), SeaStreamer::delayed(&place.url));
    let time = 4 * effort.each;
    match carried(place, &rolling, time).await < carried(place, &delayed, time).await {
        true => delayed,
        false => rolling,
    }
}

async fn beside(
    effort: Effort,
    title: &str,
    place: &Place,
    ours: &Ours,
    theirs: &impl Carrier,
) -> (f64, f64) {
    let our_events = async |time| carried(place, ours, time).await;
    let their_events = async |time| carried(place, theirs, time).await;
    in_turn(effort, title, our_events, their_events).await
}

/// Events a second that were published, handled and acked.
async fn carried(place: &Place, carrier: &impl Carrier, time: Duration) -> f64 {
    let (handle, handled) = counting();
    let line = Arc::new(carrier.open(place.new_topic(), Some(handle)).await);
    // Until then, someone joins a group.
    line.publish(batch(0)).await;
    until_acked(&*line, &handled, BATCH).await;

    let (began, published) = (Instant::now(), Arc::new(AtomicU64::new(BATCH)));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| {
            let (line, handled) = (Arc::clone(&line), Arc::clone(&handled));
            let published = Arc::clone(&published);
            tokio::spawn(async move {
                while began.elapsed() < time {
                    let handled = handled.load(Ordering::Relaxed);
                    if published.load(Ordering::Relaxed).saturating_sub(handled) >= AHEAD_MAX {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    } else {
                        line.publish(batch(published.fetch_add(BATCH, Ordering::Relaxed))).await;
                    }
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.expect("a task that does not panic");
    }
    let published = published.load(Ordering::Relaxed);
    until_acked(&*line, &handled, published).await;
    let rate = (published - BATCH) as f64 / began.elapsed().as_secs_f64();
    drop(line);
    place.clear().await;
    rate
}
