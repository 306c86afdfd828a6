//! What a subscription did, for metrics and for whoever ends it; and how far its group is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Counter;
use parking_lot::Mutex;

use super::lags::OwnLag;
use super::run::Finished;
use super::subscribe::Settings;
use crate::kernel::telemetry;

/// How events come to be lost.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lost {
    /// Someone deleted or trimmed them by hand.
    Deleted,
    /// The store was emptied, or is another.
    Flushed,
    /// Someone else has them by now.
    Lease,
}

/// Counts dead letters of a group.
pub(super) fn dead_letters(topic: &str, group: &str) -> Counter {
    metrics::counter!(telemetry::STREAM_DEAD_LETTERED, "topic" => topic.to_owned(), "group" => group.to_owned())
}

/// What became of all events of a subscription, and how it stands with its partitions.
pub(super) struct Tally {
    handled: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    given_back: AtomicU64,
    lost: AtomicU64,
    dead_letters: Counter,
    deleted: Counter,
    flushed: Counter,
    lease: Counter,
    lag: OwnLag,
    // A mutex: changed with each tick, and no one waits under it.
    behind: Mutex<BTreeMap<u16, Behind>>,
}

/// A partition, as last told.
#[derive(Default)]
struct Behind {
    pending: u64,
    /// Pending or not read, when that was looked at.
    unfinished: u64,
    oldest_ms: Option<u64>,
}

impl Behind {
    fn events(&self) -> u64 {
        // What was read since is among either.
        self.pending.max(self.unfinished)
    }
}

impl Tally {
    pub(super) fn new(settings: &Settings, lag: OwnLag) -> Self {
        let (topic, group) = settings.names();
        let lost = |cause: &'static str| metrics::counter!(telemetry::STREAM_LOST, "topic" => topic.to_owned(), "group" => group.to_owned(), "cause" => cause);
        Self {
            handled: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            dead_letters: dead_letters(topic, group),
            deleted: lost("deleted"),
            flushed: lost("flushed"),
            lease: lost("lease"),
            lag,
            behind: Mutex::default(),
        }
    }

    pub(super) fn handled(&self, events: usize) {
        add(&self.handled, events);
    }

    pub(super) fn retried(&self, events: usize) {
        add(&self.retried, events);
    }

    pub(super) fn given_back(&self, events: usize) {
        add(&self.given_back, events);
    }

    pub(super) fn dead(&self) {
        add(&self.dead, 1);
        self.dead_letters.increment(1);
    }

    pub(super) fn lost(&self, events: usize, how: Lost) {
        self.lost_as_told(events);
        let counter = match how {
            Lost::Deleted => &self.deleted,
            Lost::Flushed => &self.flushed,
            Lost::Lease => &self.lease,
        };
        counter.increment(u64::try_from(events).unwrap_or(u64::MAX));
    }

    /// Lost here, and told to metrics by another for all.
    pub(super) fn lost_as_told(&self, events: usize) {
        add(&self.lost, events);
    }

    /// How many events of a partition are pending, and the age of the oldest that is not finished.
    pub(super) fn stands(&self, partition: u16, pending: u64, oldest_ms: Option<u64>) {
        let mut behind = self.behind.lock();
        let of_it = behind.entry(partition).or_default();
        (of_it.pending, of_it.oldest_ms) = (pending, oldest_ms);
        if oldest_ms.is_none() {
            of_it.unfinished = 0;
        }
        self.tell(&behind);
    }

    /// How many events of a partition are not finished: those that are pending, and those that are not read.
    pub(super) fn lags(&self, partition: u16, unfinished: u64) {
        let mut behind = self.behind.lock();
        behind.entry(partition).or_default().unfinished = unfinished;
        self.tell(&behind);
    }

    /// No more is told of a partition. How many of its events were not finished, as last told.
    pub(super) fn forget(&self, partition: u16) -> u64 {
        let mut behind = self.behind.lock();
        let was = behind.remove(&partition).unwrap_or_default();
        self.tell(&behind);
        was.events()
    }

    /// Under the lock, so that the last word is the newest.
    fn tell(&self, behind: &BTreeMap<u16, Behind>) {
        let oldest_ms = behind.values().filter_map(|one| one.oldest_ms).max();
        let events = behind.values().map(Behind::events).fold(0, u64::saturating_add);
        self.lag.tell(events, oldest_ms.unwrap_or_default());
    }

    pub(super) fn finished(&self) -> Finished {
        let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Finished {
            handled: read(&self.handled),
            retried: read(&self.retried),
            dead: read(&self.dead),
            given_back: read(&self.given_back),
            lost: read(&self.lost),
        }
    }
}

fn add(to: &AtomicU64, events: usize) {
    to.fetch_add(u64::try_from(events).unwrap_or(u64::MAX), Ordering::Relaxed);
}
