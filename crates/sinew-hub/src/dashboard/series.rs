//! The last minutes, a point a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde::Serialize;
use sinew::limit::LimitStats;
use sinew::{Sinew, Stats};
use tokio::sync::broadcast;

const POINTS_MAX: usize = 300;
/// Caches, and limits, beyond this number have no points of their own.
const RINGS_MAX: usize = 100;
const EVERY: Duration = Duration::from_secs(1);

/// One second of something that is counted.
pub(crate) trait Point: Copy + Default + Serialize + Send + Sync + 'static {
    /// The counts, since the process started.
    type Stats: Copy + Default + Send;

    fn between(at: u64, before: &Self::Stats, now: &Self::Stats) -> Self;

    /// Both together; the later of the two times.
    fn plus(self, other: Self) -> Self;
}

/// One second of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct CachePoint {
    /// Seconds since the Unix epoch
    pub(crate) at: u64,
    /// Look-ups answered from this process
    pub(crate) local: u64,
    /// From Redis
    pub(crate) redis: u64,
    /// With a value that was fresh no more
    pub(crate) stale: u64,
    /// Not at all
    pub(crate) misses: u64,
    /// Loads that gave a value
    pub(crate) loads: u64,
}

impl CachePoint {
    pub(crate) fn hits(&self) -> u64 {
        self.local + self.redis + self.stale
    }

    pub(crate) fn requests(&self) -> u64 {
        self.hits() + self.misses
    }
}

impl Point for CachePoint {
    type Stats = Stats;

    fn between(at: u64, before: &Stats, now: &Stats) -> Self {
        Self {
            at,
            local: now.hits_local.saturating_sub(before.hits_local),
            redis: now.hits_redis.saturating_sub(before.hits_redis),
            stale: now.stale.saturating_sub(before.stale),
            misses: now.misses.saturating_sub(before.misses),
            loads: now.loads.saturating_sub(before.loads),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            at: self.at.max(other.at),
            local: self.local + other.local,
            redis: self.redis + other.redis,
            stale: self.stale + other.stale,
            misses: self.misses + other.misses,
            loads: self.loads + other.loads,
        }
    }
}

/// One second of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct LimitPoint {
    /// Seconds since the Unix epoch
    pub(crate) at: u64,
    /// Requests that were charged
    pub(crate) admitted: u64,
    /// That were denied
    pub(crate) denied: u64,
    /// That a shadow would have denied
    pub(crate) shadow_denied: u64,
    /// Of all these, those that were decided without Redis
    pub(crate) degraded: u64,
}

impl Point for LimitPoint {
    type Stats = LimitStats;

    fn between(at: u64, before: &LimitStats, now: &LimitStats) -> Self {
        Self {
            at,
            admitted: now.admitted.saturating_sub(before.admitted),
            denied: now.denied.saturating_sub(before.denied),
            shadow_denied: now.shadow_denied.saturating_sub(before.shadow_denied),
            degraded: now.degraded.saturating_sub(before.degraded),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            at: self.at.max(other.at),
            admitted: self.admitted + other.admitted,
            denied: self.denied + other.denied,
            shadow_denied: self.shadow_denied + other.shadow_denied,
            degraded: self.degraded + other.degraded,
        }
    }
}

/// Whose points.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    All,
    Named(String),
}

/// Points, sampled in the background for as long as someone holds the series.
pub(crate) struct Series {
    shared: Arc<Shared>,
    sampler: tokio::task::JoinHandle<()>,
}

struct Shared {
    caches: Points<CachePoint>,
    limits: Points<LimitPoint>,
    ticks: broadcast::Sender<()>,
}

/// The points of one kind.
pub(crate) struct Points<P: Point>(RwLock<Rings<P>>);

struct Rings<P: Point> {
    all: VecDeque<P>,
    named: BTreeMap<String, VecDeque<P>>,
    before: BTreeMap<String, P::Stats>,
}

impl Series {
    pub(crate) fn sampling(sinew: Sinew) -> Self {
        let shared = Arc::new(Shared {
            caches: Points::since(sinew.cache_stats()),
            limits: Points::since(sinew.limiter().stats()),
            ticks: broadcast::Sender::new(16),
        });
        let sampler = tokio::spawn(sample_for_ever(sinew, Arc::clone(&shared)));
        Self { shared, sampler }
    }

    pub(crate) fn caches(&self) -> &Points<CachePoint> {
        &self.shared.caches
    }

    pub(crate) fn limits(&self) -> &Points<LimitPoint> {
        &self.shared.limits
    }

    /// Says when there is a new point.
    pub(crate) fn ticks(&self) -> broadcast::Receiver<()> {
        self.shared.ticks.subscribe()
    }
}

impl<P: Point> Points<P> {
    fn since(before: BTreeMap<String, P::Stats>) -> Self {
        Self(RwLock::new(Rings { all: VecDeque::new(), named: BTreeMap::new(), before }))
    }

    pub(crate) fn so_far(&self, of: &Of) -> Vec<P> {
        self.0.read().of(of).copied().collect()
    }

    /// The point of the second that a tick ended.
    pub(crate) fn newest(&self, of: &Of) -> Option<P> {
        self.0.read().of(of).next_back().copied()
    }

    /// The last so many seconds together.
    pub(crate) fn last(&self, of: &Of, seconds: usize) -> P {
        let rings = self.0.read();
        rings.of(of).rev().take(seconds).copied().fold(P::default(), P::plus)
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

async fn sample_for_ever(sinew: Sinew, shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        shared.caches.0.write().add(at, sinew.cache_stats());
        shared.limits.0.write().add(at, sinew.limiter().stats());
        // Fails while no one looks.
        let _ = shared.ticks.send(());
    }
}

impl<P: Point> Rings<P> {
    fn of(&self, of: &Of) -> impl DoubleEndedIterator<Item = &P> {
        let ring = match of {
            Of::All => Some(&self.all),
            Of::Named(name) => self.named.get(name),
        };
        ring.into_iter().flatten()
    }

    fn add(&mut self, at: u64, now: BTreeMap<String, P::Stats>) {
        // Of a second in which nothing is counted there is a point, too.
        let mut all = P::between(at, &P::Stats::default(), &P::Stats::default());
        for (name, stats) in &now {
            let before = self.before.get(name).copied().unwrap_or_default();
            let point = P::between(at, &before, stats);
            all = all.plus(point);
            if let Some(ring) = self.named.get_mut(name) {
                push(ring, point);
            } else if self.named.len() < RINGS_MAX {
                self.named.insert(name.clone(), VecDeque::from([point]));
            }
        }
        push(&mut self.all, all);
        self.before = now;
    }
}

fn push<P>(ring: &mut VecDeque<P>, point: P) {
    ring.push_back(point);
    if ring.len() > POINTS_MAX {
        ring.pop_front();
    }
}

pub(crate) fn total(sinew: &Sinew) -> Stats {
    sinew.cache_stats().into_values().fold(Stats::default(), Stats::plus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(misses: u64) -> Stats {
        Stats { misses, ..Stats::default() }
    }

    #[test]
    fn rings_are_bounded_and_add_up() {
        let names = || (0..=RINGS_MAX).map(|n| format!("cache-{n:03}"));
        let points = Points::<CachePoint>::since(BTreeMap::new());
        for second in 1..=400 {
            let now = names().map(|name| (name, stats(second))).collect();
            points.0.write().add(second, now);
        }
        assert_eq!(points.0.read().named.len(), RINGS_MAX);
        let of = |name: &str| Of::Named(name.to_owned());
        let first = points.so_far(&of("cache-000"));
        assert_eq!(first.len(), POINTS_MAX);
        assert!(first.iter().all(|point| point.misses == 1));
        assert!(points.so_far(&of("unknown")).is_empty());
        assert_eq!(points.last(&of("cache-000"), 60).misses, 60);
        let newest = points.newest(&Of::All).unwrap();
        // Also those without a ring of their own.
        assert_eq!((newest.at, newest.misses), (400, 101));
    }

    #[test]
    fn limits_are_counted_from_when_the_series_began() {
        let counted = |admitted, denied| {
            let stats = LimitStats { admitted, denied, ..LimitStats::default() };
            BTreeMap::from([("calls".to_owned(), stats)])
        };
        let points = Points::<LimitPoint>::since(counted(5, 1));
        points.0.write().add(1, counted(7, 1));
        points.0.write().add(2, counted(7, 4));
        let of = Of::Named("calls".to_owned());
        let counts = points.so_far(&of).iter().map(|p| (p.admitted, p.denied)).collect::<Vec<_>>();
        assert_eq!(counts, [(2, 0), (0, 3)]);
        assert_eq!(points.newest(&Of::All).map(|point| point.denied), Some(3));
    }
}
