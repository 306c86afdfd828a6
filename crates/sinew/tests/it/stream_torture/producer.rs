//! A producer: what it publishes, and how it tells of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sinew::Streams;
use sinew::stream::NewEvent;

use super::TOPIC;
use super::history::{Group, Id, What, Worker};
use super::worker::Teller;

/// Each has keys of its own.
pub const TASKS: u64 = 8;
const KEYS: usize = 6;
const BATCH_MAX: u64 = 8;

/// Publishes the events of a few keys, one after another, until it is to end. What was not confirmed is
/// published again, under the same names, before anything else of its keys.
pub async fn produce(
    streams: Streams,
    teller: Arc<Teller>,
    task: u64,
    per_second: u64,
    running: Arc<AtomicBool>,
) {
    let Worker { process, life } = teller.by;
    // A process that was killed lives again with other keys: what it had published, it no longer knows.
    let first = (process << 40) | (life << 16) | (task * KEYS as u64);
    let mut next = [0; KEYS];
    let mut random = fastrand::Rng::with_seed(first);
    let pause = Duration::from_secs_f64(number(BATCH_MAX * TASKS) / number(2 * per_second.max(1)));
    while running.load(Ordering::SeqCst) {
        let mut batch = Vec::new();
        for _ in 0..random.u64(1..BATCH_MAX) {
            let key = random.usize(..KEYS);
            batch.push(Id { key: first + key as u64, n: next[key] });
            next[key] += 1;
        }
        for id in &batch {
            teller.say(What::Sends, Group::Any, *id, 0, (0, 0)).await;
        }
        loop {
            let events = batch.iter().map(|id| event(*id)).collect();
            match streams.publish_events(TOPIC, events).await {
                Ok(_) => break,
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error:#}"),
            }
        }
        for id in &batch {
            teller.say(What::Published, Group::Any, *id, 0, (0, 0)).await;
        }
        tokio::time::sleep(pause).await;
    }
}

fn event(id: Id) -> NewEvent {
    let text = id.to_string();
    NewEvent {
        id: Some(text.clone()),
        key: Some(id.key.to_string()),
        dedup: Some(text),
        data: vec![b'7'; 100].into(),
        ..NewEvent::default()
    }
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
