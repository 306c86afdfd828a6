//! Counters of one cache in one process.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::loader::Source;
use crate::kernel::error::Error;
use crate::kernel::heat::Heat;
use crate::kernel::key::Key;
use crate::kernel::telemetry;

/// What a cache did in this process since it started, over all tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Look-ups answered from this process.
    pub hits_local: u64,
    /// Look-ups answered from Redis.
    pub hits_redis: u64,
    /// Look-ups answered with a value that was fresh no more.
    pub stale: u64,
    /// Look-ups that found nothing to serve.
    pub misses: u64,
    /// Loads from the source that gave a value.
    pub loads: u64,
    /// Loads from the source that failed.
    pub load_errors: u64,
    /// Failures of the store that callers were shielded from.
    pub errors: u64,
    /// Hits that were compared with the source; see [`Cache::checked`](crate::Cache::checked).
    pub checked: u64,
    /// Of these, those that differed from it for longer than a change takes to arrive.
    pub inconsistencies: u64,
}

impl Stats {
    /// All look-ups that found something.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits_local + self.hits_redis + self.stale
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
            stale: self.stale + other.stale,
            misses: self.misses + other.misses,
            loads: self.loads + other.loads,
            load_errors: self.load_errors + other.load_errors,
            errors: self.errors + other.errors,
            checked: self.checked + other.checked,
            inconsistencies: self.inconsistencies + other.inconsistencies,
        }
    }
}

/// The counters behind [`Stats`], and the same as metrics.
pub(crate) struct Recorder {
    cache: Arc<str>,
    look_ups: LookUps,
    loads: AtomicU64,
    load_errors: AtomicU64,
    loads_metric: [Counter; 2],
    load_duration: Histogram,
    errors: AtomicU64,
    checked: AtomicU64,
    inconsistencies: AtomicU64,
    heat: Heat,
}

impl Recorder {
    pub(crate) fn new(cache: &str) -> Self {
        let cache: Arc<str> = cache.into();
        let look_ups = LookUps::new(
            |result| metrics::counter!(telemetry::CACHE_REQUESTS, "cache" => cache.to_string(), "result" => result),
        );
        let loads_metric = ["ok", "error"].map(|outcome| {
            metrics::counter!(telemetry::CACHE_LOADS, "cache" => cache.to_string(), "outcome" => outcome)
        });
        Self {
            look_ups,
            loads: AtomicU64::new(0),
            load_errors: AtomicU64::new(0),
            loads_metric,
            load_duration: metrics::histogram!(telemetry::CACHE_LOAD_DURATION, "cache" => cache.to_string()),
            errors: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            inconsistencies: AtomicU64::new(0),
            heat: Heat::default(),
            cache,
        }
    }

    pub(crate) fn looked_up(&self, found: Source) {
        self.look_ups.of_this_thread().add_one(match found {
            Source::Local => LookUp::Local,
            Source::Redis => LookUp::Redis,
            Source::Stale => LookUp::Stale,
            Source::Loaded => LookUp::Miss,
        });
    }

    /// Brings the metrics up to date: once a second, not with every look-up.
    pub(crate) fn tell(&self) {
        self.look_ups.tell();
    }

    /// Told of each key that is looked up, so that it can tell of those that are most.
    pub(crate) fn looks_up(&self, key: &Key) {
        if let Some(weight) = self.look_ups.of_this_thread().samples() {
            self.sampled(key, weight);
        }
    }

    /// An entry was found in this process. For how many look-ups this one stands, if it is to be told to
    /// [`Recorder::sampled`].
    #[inline]
    pub(crate) fn found_here(&self) -> Option<u64> {
        let stripe = self.look_ups.of_this_thread();
        stripe.add_one(LookUp::Local);
        stripe.samples()
    }

    #[cold]
    pub(crate) fn sampled(&self, key: &Key, weight: u64) {
        self.heat.add(key.as_str(), weight);
    }

    pub(crate) fn hottest(&self, prefix: &str) -> Vec<(String, f64)> {
        self.heat.hottest(prefix)
    }

    pub(crate) fn missed(&self) {
        self.look_ups.of_this_thread().add_one(LookUp::Miss);
    }

    pub(crate) fn loaded(&self, ok: bool, took: Duration) {
        let count = if ok { &self.loads } else { &self.load_errors };
        count.fetch_add(1, Ordering::Relaxed);
        self.loads_metric[usize::from(!ok)].increment(1);
        self.load_duration.record(took);
    }

    pub(crate) fn checked(&self) {
        self.checked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn inconsistent(&self) {
        self.inconsistencies.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(telemetry::CACHE_INCONSISTENCIES, "cache" => self.cache.to_string())
            .increment(1);
        tracing::warn!(cache = %self.cache, "an entry differs from its source");
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
            hits_local: self.look_ups.sum(LookUp::Local),
            hits_redis: self.look_ups.sum(LookUp::Redis),
            stale: self.look_ups.sum(LookUp::Stale),
            misses: self.look_ups.sum(LookUp::Miss),
            loads: self.loads.load(Ordering::Relaxed),
            load_errors: self.load_errors.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            checked: self.checked.load(Ordering::Relaxed),
            inconsistencies: self.inconsistencies.load(Ordering::Relaxed),
        }
    }
}

/// Threads with counters of their own; those that come later share the last.
const STRIPES: usize = 64;

/// The look-ups of one thread: on a cache line that no other thread writes to.
#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    counts: [AtomicU64; LOOK_UPS],
    /// Look-ups that are passed over before the next one whose key is a sample.
    to_pass: AtomicU64,
    passed: AtomicU64,
    samples: AtomicU64,
    is_shared: bool,
}

const LOOK_UPS: usize = 4;
/// Between two samples are as many look-ups as there were samples, and at last about so many.
const PASSED_MAX: u64 = 1_024;

/// How a look-up ended.
#[derive(Clone, Copy)]
enum LookUp {
    Local,
    Redis,
    Stale,
    Miss,
}

/// Look-ups, counted by each thread for itself: a counter that threads share costs more than all the
/// rest of a hit.
struct LookUps {
    stripes: Box<[Stripe]>,
    metrics: [Counter; LOOK_UPS],
    /// What the metrics were told of.
    told: [AtomicU64; LOOK_UPS],
}

impl Stripe {
    #[inline]
    fn add_one(&self, look_up: LookUp) {
        let count = &self.counts[look_up as usize];
        if self.is_shared {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    #[inline]
    fn samples(&self) -> Option<u64> {
        // Threads that share a stripe may lose some of each other's steps, which is no harm.
        if let Some(less) = self.to_pass.load(Ordering::Relaxed).checked_sub(1) {
            self.to_pass.store(less, Ordering::Relaxed);
            return None;
        }
        Some(self.sample())
    }

    /// For how many look-ups this one stands.
    fn sample(&self) -> u64 {
        let samples = self.samples.load(Ordering::Relaxed) + 1;
        self.samples.store(samples, Ordering::Relaxed);
        // At random: every 1,024th would always be the same one of a loop.
        let to_pass = fastrand::u64(0..=2 * samples.min(PASSED_MAX));
        self.to_pass.store(to_pass, Ordering::Relaxed);
        self.passed.swap(to_pass, Ordering::Relaxed) + 1
    }
}

impl LookUps {
    fn new(metric: impl Fn(&'static str) -> Counter) -> Self {
        Self {
            stripes: (1..=STRIPES)
                .map(|number| Stripe { is_shared: number == STRIPES, ..Stripe::default() })
                .collect(),
            metrics: ["hit_local", "hit_redis", "stale", "miss"].map(metric),
            told: Default::default(),
        }
    }

    #[inline]
    fn of_this_thread(&self) -> &Stripe {
        &self.stripes[stripe_of_this_thread()]
    }

    fn sum(&self, look_up: LookUp) -> u64 {
        let of_stripe = |stripe: &Stripe| stripe.counts[look_up as usize].load(Ordering::Relaxed);
        self.stripes.iter().map(of_stripe).sum()
    }

    /// Brings the metrics up to date.
    fn tell(&self) {
        for look_up in [LookUp::Local, LookUp::Redis, LookUp::Stale, LookUp::Miss] {
            let sum = self.sum(look_up);
            let told = self.told[look_up as usize].fetch_max(sum, Ordering::Relaxed);
            self.metrics[look_up as usize].increment(sum.saturating_sub(told));
        }
    }
}

#[inline]
fn stripe_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Not by an initializer, which would be asked for with every look-up.
        static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    if STRIPE.get() == usize::MAX {
        STRIPE.set(NEXT.fetch_add(1, Ordering::Relaxed).min(STRIPES - 1));
    }
    STRIPE.get()
}
