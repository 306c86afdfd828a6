//! Groups whose runs are counted, and waiting until they are as far as they are to be.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sinew::Streams;
use sinew::stream::{Ack, Ctx, Event, GroupMode, HandlerError, Subscription};
use tokio::sync::watch;

use super::LEASE;
use crate::laws::{LAW_MAX, eventually};
use crate::world::redis_cli;

/// How often each event was run to its end in a group.
#[derive(Clone, Debug, Default)]
pub struct Runs(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Runs {
    pub fn note(&self, event: u64) {
        *self.0.lock().unwrap().entry(event).or_default() += 1;
    }

    pub fn of(&self, event: u64) -> u64 {
        self.0.lock().unwrap().get(&event).copied().unwrap_or(0)
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub async fn until_all(&self, events: Range<u64>) {
        let all = || async { events.clone().all(|event| self.of(event) > 0) };
        eventually("all events are run", all).await;
    }

    pub fn each_once(&self, events: Range<u64>) {
        let expected: BTreeMap<u64, u64> = events.map(|event| (event, 1)).collect();
        assert_eq!(*self.0.lock().unwrap(), expected);
    }

    pub fn subscribe(&self, streams: &Streams, group: &str) -> Subscription {
        self.subscribe_behind(streams, group, watch::channel(true).1)
    }

    /// Each run waits for the gate first.
    pub fn subscribe_behind(
        &self,
        streams: &Streams,
        group: &str,
        gate: watch::Receiver<bool>,
    ) -> Subscription {
        let runs = self.clone();
        let handler = move |event: Event<u64>, _: Ctx| {
            let (runs, mut gate) = (runs.clone(), gate.clone());
            async move {
                // Whoever held it and is gone has left it as it was.
                let _ = gate.wait_for(|is_open| *is_open).await;
                runs.note(event.data);
                Ok::<_, HandlerError>(Ack::Done)
            }
        };
        let subscribe = streams.subscribe("orders", group).lease(LEASE).concurrency(64);
        subscribe.start(handler).unwrap()
    }
}

pub async fn publish(streams: &Streams, events: Range<u64>) {
    for event in events {
        streams.publish("orders", &event).await.unwrap();
    }
}

/// Waits until a group has finished all that was published.
pub async fn settled(streams: &Streams, group: &str) {
    let is_settled = || async {
        let lag = streams.lag("orders").await.unwrap_or_default();
        lag.iter().any(|told| told.group == group && told.unfinished() == 0)
    };
    eventually("the group has finished everything", is_settled).await;
}

/// Waits until the only consumer of a group has noted how far the group is now.
pub async fn noted(streams: &Streams, group: &str) {
    let (mut seen, began) = (BTreeSet::new(), Instant::now());
    loop {
        let topic = streams.look("orders").await.unwrap().expect("a topic");
        let told = topic.groups.iter().find(|told| told.group == group).expect("a group");
        if told.mode == GroupMode::ByKey {
            // Its members are also seen when they look who is there, and note nothing then.
            return tokio::time::sleep(2 * LEASE).await;
        }
        seen.insert(told.seen_at);
        // It ticks in all partitions together. One round may have begun before, and what the next one is told is noted
        // before the one after it.
        if seen.len() > 2 * usize::from(topic.partitions) {
            return;
        }
        assert!(began.elapsed() < LAW_MAX / 3, "it says no more that it lives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The only log that a server has.
pub fn log_of(port: u16) -> String {
    redis_cli(port, &["--scan", "--pattern", "*:log"])
}
