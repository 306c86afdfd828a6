//! How long another process may still see what was invalidated: from the moment that the caller
//! of `invalidate` has its answer. The peer is the push of the bare server, which nobody beats.
//!
//! Two clients in one process stand for two processes: they share no more than the machine.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use sinew::{Cache, Invalidated, Local, Sinew, Source};

use super::LONG;
use crate::measure::{Row, at_once, p99_ms, seen_after};
use crate::peer::{raw_connection, tracking_connection};

const REPETITIONS: u64 = 2_000;
const WARM_UP: u64 = 100;

pub async fn row(url: String) -> Row {
    // In a task: the thread that waits is then one that looks after the connections.
    tokio::spawn(async move { measured(&url).await }).await.expect("a task that does not panic")
}

async fn measured(url: &str) -> Row {
    let (ours, mut theirs) = (Processes::connect(url).await, Bare::connect(url).await);
    let (mut our_delays, mut their_delays) = (Vec::new(), Vec::new());
    for id in 0..WARM_UP + REPETITIONS {
        eprint!("\rcache.push_delay: {id} of {}", WARM_UP + REPETITIONS);
        let (our_delay, their_delay) = (ours.delay(id).await, theirs.delay(id).await);
        if id >= WARM_UP {
            our_delays.push(our_delay);
            their_delays.push(their_delay);
        }
    }
    eprintln!();
    let (ours, theirs) = (p99_ms(our_delays), p99_ms(their_delays));
    Row::of_times("cache.push_delay", "raw", ours, theirs, "ms p99")
}

/// One that changes, and one that looks.
struct Processes {
    writer: Cache<u64, u64>,
    reader: Cache<u64, u64>,
}

impl Processes {
    async fn connect(url: &str) -> Self {
        Self { writer: process(url).await, reader: process(url).await }
    }

    async fn delay(&self, id: u64) -> Duration {
        let mut tries = 0..1_000;
        while self.source_of(id).await != Source::Local {
            tries.next().expect("local within 1,000 look-ups");
        }
        let outcome = self.writer.invalidate(&id).await.expect("a good key");
        let done = Instant::now();
        assert!(matches!(outcome, Invalidated::Done), "Redis is up");
        let reader = self.reader.clone();
        seen_after(done, move || at_once(reader.get(&id)).expect("a good key").is_none()).await
    }

    async fn source_of(&self, id: u64) -> Source {
        let load = move || async move { Ok::<_, Infallible>(id) };
        self.reader.get_or_load_traced(&id, load).await.expect("loaded").source
    }
}

async fn process(url: &str) -> Cache<u64, u64> {
    let sinew = Sinew::connect(url).await.expect("a connection");
    let local = Local::bytes(64 << 20);
    sinew.cache("pushed").ttl(LONG).local(local).build().expect("a cache")
}

/// The same with a flag for a local level.
struct Bare {
    writer: MultiplexedConnection,
    reader: MultiplexedConnection,
    let_go: Arc<AtomicBool>,
}

impl Bare {
    async fn connect(url: &str) -> Self {
        let let_go = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&let_go);
        let reader = tracking_connection(url, move || told.store(true, Ordering::Release)).await;
        Self { writer: raw_connection(url).await, reader, let_go }
    }

    async fn delay(&mut self, id: u64) -> Duration {
        let key = format!("raw:pushed:{id}");
        let _: () = self.writer.set(&key, id).await.expect("stored");
        let _: u64 = self.reader.get(&key).await.expect("a hit");
        self.let_go.store(false, Ordering::Release);
        let _: u64 = self.writer.del(&key).await.expect("removed");
        let done = Instant::now();
        let let_go = Arc::clone(&self.let_go);
        seen_after(done, move || let_go.load(Ordering::Acquire)).await
    }
}
