//! Event streams beside the least that the job needs, beside another library of them, and beside what was
//! promised.

mod end_to_end;
mod hand_over;
mod latency;
mod publish;
mod slow;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use sinew::Sinew;
use sinew::stream::{Ack, Streams, Subscription};
use tokio::task::spawn_blocking;

use crate::measure::{Effort, Row};
use crate::peer::raw_connection;
use crate::peer::streams::{Carrier, GROUP, Handle, Line};
use crate::world::start_redis;

/// The peers of rows, beside that of [`BAR`].
const RAW: &str = "raw";
const SEA_STREAMER: &str = "sea-streamer-redis";
/// The peer of rows that nobody else has: what was promised.
const BAR: &str = "bar";

/// Of an event's data, which are a string as JSON.
const EVENT_LEN: usize = 100;
/// How many are published at once, where many are.
const BATCH: u64 = 128;
/// Who publishes batches at the same time.
const PUBLISHERS: u64 = 4;
/// As many as may be, since these handlers wait for nothing.
const CONCURRENCY: usize = 1_024;
const KEYS: u64 = 1_000;
const PARTITIONS: u16 = 16;
const ACKED_WITHIN: Duration = Duration::from_secs(30);

pub async fn run(effort: Effort) -> Vec<Row> {
    let server = spawn_blocking(start_redis).await.expect("a server");
    let place = Place::at(format!("redis://127.0.0.1:{}", server.port)).await;
    let mut rows = end_to_end::rows(effort, &place).await;
    rows.push(end_to_end::ordered(effort, &place).await);
    rows.extend(publish::rows(effort, &place).await);
    rows.extend(latency::rows(effort, &place).await);
    rows.push(hand_over::row(effort, &place).await);
    rows.extend(slow::rows(&place).await);
    rows
}

/// The server on which all take turns.
struct Place {
    url: String,
    sinew: Sinew,
    raw: MultiplexedConnection,
    topics: AtomicU64,
}

impl Place {
    async fn at(url: String) -> Self {
        let sinew = Sinew::connect(&url).await.expect("a connection");
        let raw = raw_connection(&url).await;
        Self { url, sinew, raw, topics: AtomicU64::new(0) }
    }

    /// The name of one that nobody has had.
    fn new_topic(&self) -> String {
        format!("orders-{}", self.topics.fetch_add(1, Ordering::Relaxed))
    }

    /// So that each turn begins with nothing, and no turn fills the memory.
    async fn clear(&self) {
        let cleared = redis::cmd("FLUSHDB").exec_async(&mut self.raw.clone()).await;
        cleared.expect("an empty server");
    }
}

fn streams(sinew: &Sinew) -> Streams {
    sinew.tenant("acme").expect("a tenant").streams()
}

/// What is published: a string that is `EVENT_LEN` long as JSON.
fn event(number: u64) -> String {
    format!("{number:0>width$}", width = EVENT_LEN - 2)
}

/// What is in an event.
fn number(data: &[u8]) -> u64 {
    let text = std::str::from_utf8(data).expect("JSON").trim_matches('"').trim_start_matches('0');
    if text.is_empty() { 0 } else { text.parse().expect("a number") }
}

fn batch(first: u64) -> Vec<String> {
    (first..first + BATCH).map(event).collect()
}

/// Waits until so many were handled, and all of them are acked.
async fn until_acked(line: &impl Line, handled: &AtomicU64, events: u64) {
    let began = Instant::now();
    while handled.load(Ordering::Relaxed) < events || !line.has_acked().await {
        assert!(began.elapsed() < ACKED_WITHIN, "acked within {ACKED_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

struct Ours {
    sinew: Sinew,
    /// Where events are ordered by key.
    partitions: Option<u16>,
}

impl Ours {
    fn new(place: &Place) -> Self {
        Self { sinew: place.sinew.clone(), partitions: None }
    }

    fn ordered(place: &Place) -> Self {
        Self { sinew: place.sinew.clone(), partitions: Some(PARTITIONS) }
    }
}

impl Carrier for Ours {
    type Line = OurLine;

    async fn open(&self, topic: String, handle: Option<Handle>) -> OurLine {
        let streams = streams(&self.sinew);
        let declared = streams.topic(&topic).partitions(self.partitions.unwrap_or(1));
        declared.declare().await.expect("a topic");
        let reading = handle.map(|handle| {
            let mut subscribe = streams.subscribe_raw(&topic, GROUP).concurrency(CONCURRENCY);
            if let Some(partitions) = self.partitions {
                subscribe = subscribe.ordered_by_key(partitions);
            }
            let handler = subscribe.start(move |event, _| {
                handle(&event.data);
                std::future::ready(Ok(Ack::Done))
            });
            handler.expect("a subscription")
        });
        OurLine { streams, topic, has_keys: self.partitions.is_some(), _reading: reading }
    }
}

struct OurLine {
    streams: Streams,
    topic: String,
    has_keys: bool,
    _reading: Option<Subscription>,
}

impl Line for OurLine {
    async fn publish(&self, events: Vec<String>) {
        let many = self.streams.publish_many(&self.topic, events);
        let many = match self.has_keys {
            true => many.key(|event: &String| (number(event.as_bytes()) % KEYS).to_string()),
            false => many,
        };
        many.await.expect("published");
    }

    async fn publish_one(&self, event: String) {
        self.streams.publish(&self.topic, &event).await.expect("published");
    }

    async fn has_acked(&self) -> bool {
        // What was handled and not acked is held.
        let groups = self.streams.lag(&self.topic).await.expect("an answer");
        groups.iter().all(|group| group.held == 0 && group.parked == 0)
    }
}

/// What counts what it handles.
fn counting() -> (Handle, Arc<AtomicU64>) {
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    let handle = move |data: &[u8]| {
        assert_eq!(data.len(), EVENT_LEN);
        count.fetch_add(1, Ordering::Relaxed);
    };
    (Arc::new(handle), handled)
}
