//! Counters of one cache in one process.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::load::Source;
use crate::kernel::error::Error;
use crate::kernel::telemetry;

/// What a cache did in this process since it started, over all tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Look-ups answered from this process.
    pub hits_local: u64,
    /// Look-ups answered from Redis.
    pub hits_redis: u64,
    /// Look-ups that found nothing to serve.
    pub misses: u64,
    /// Loads from the source that gave a value.
    pub loads: u64,
    /// Loads from the source that failed.
    pub load_errors: u64,
    /// Failures of the store that callers were shielded from.
    pub errors: u64,
}

impl Stats {
    /// All look-ups that found something.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits_local + self.hits_redis
    }

    /// All look-ups.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.hits() + self.misses
    }

    /// Share of look-ups that were hits, 0 to 1; `None` before the first.
    #[must_use]
    pub fn hit_ratio(&self) -> Option<f64> {
        match self.requests() {
            0 => None,
            #[allow(clippy::cast_precision_loss)]
            requests => Some(self.hits() as f64 / requests as f64),
        }
    }

    /// Adds the counts of another cache.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            hits_local: self.hits_local + other.hits_local,
            hits_redis: self.hits_redis + other.hits_redis,
            misses: self.misses + other.misses,
            loads: self.loads + other.loads,
            load_errors: self.load_errors + other.load_errors,
            errors: self.errors + other.errors,
        }
    }
}

/// The counters behind [`Stats`], and the same as metrics.
pub(crate) struct Recorder {
    cache: Arc<str>,
    hits_local: Tally,
    hits_redis: Tally,
    misses: Tally,
    loads: Tally,
    load_errors: Tally,
    load_duration: Histogram,
    errors: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(cache: &str) -> Self {
        let cache: Arc<str> = cache.into();
        let requests = |result: &'static str| {
            Tally::new(
                metrics::counter!(telemetry::CACHE_REQUESTS, "cache" => cache.to_string(), "result" => result),
            )
        };
        let loads = |outcome: &'static str| {
            Tally::new(
                metrics::counter!(telemetry::CACHE_LOADS, "cache" => cache.to_string(), "outcome" => outcome),
            )
        };
        Self {
            hits_local: requests("hit_local"),
            hits_redis: requests("hit_redis"),
            misses: requests("miss"),
            loads: loads("ok"),
            load_errors: loads("error"),
            load_duration: metrics::histogram!(telemetry::CACHE_LOAD_DURATION, "cache" => cache.to_string()),
            errors: AtomicU64::new(0),
            cache,
        }
    }

    pub(crate) fn looked_up(&self, found: Source) {
        match found {
            Source::Local => self.hits_local.add_one(),
            Source::Redis => self.hits_redis.add_one(),
            Source::Loaded => self.misses.add_one(),
        }
    }

    pub(crate) fn missed(&self) {
        self.misses.add_one();
    }

    pub(crate) fn loaded(&self, ok: bool, took: Duration) {
        if ok {
            self.loads.add_one();
        } else {
            self.load_errors.add_one();
        }
        self.load_duration.record(took);
    }

    /// A failure that the caller does not get to see.
    pub(crate) fn shielded(&self, operation: &'static str, error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let kind = error.kind().name();
        metrics::counter!(telemetry::CACHE_ERRORS, "cache" => self.cache.to_string(), "operation" => operation, "kind" => kind)
            .increment(1);
        tracing::debug!(cache = %self.cache, operation, %error, "the store failed; the caller does not notice");
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            hits_local: self.hits_local.sum(),
            hits_redis: self.hits_redis.sum(),
            misses: self.misses.sum(),
            loads: self.loads.sum(),
            load_errors: self.load_errors.sum(),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }
}

const STRIPES: usize = 8;

/// A counter that threads do not fight over: each adds to its own cache line.
struct Tally {
    stripes: [Stripe; STRIPES],
    metric: Counter,
}

#[derive(Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

impl Tally {
    fn new(metric: Counter) -> Self {
        Self { stripes: Default::default(), metric }
    }

    fn add_one(&self) {
        self.stripes[stripe_of_this_thread()].0.fetch_add(1, Ordering::Relaxed);
        self.metric.increment(1);
    }

    fn sum(&self) -> u64 {
        self.stripes.iter().map(|s| s.0.load(Ordering::Relaxed)).sum()
    }
}

fn stripe_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
    }
    STRIPE.with(Cell::get)
}
