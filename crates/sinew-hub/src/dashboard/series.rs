//! The last minutes, a point a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde::Serialize;
use sinew::{Sinew, Stats};
use tokio::sync::broadcast;

const POINTS_MAX: usize = 300;
/// Caches beyond this number have no points of their own.
const CACHES_MAX: usize = 100;
const EVERY: Duration = Duration::from_secs(1);

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Point {
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

impl Point {
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

    /// Both together; the later of the two times.
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

    pub(crate) fn hits(&self) -> u64 {
        self.local + self.redis + self.stale
    }

    pub(crate) fn requests(&self) -> u64 {
        self.hits() + self.misses
    }
}

/// Whose points.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    AllCaches,
    Cache(String),
}

/// Points, sampled in the background for as long as someone holds the series.
pub(crate) struct Series {
    shared: Arc<Shared>,
    sampler: tokio::task::JoinHandle<()>,
}

struct Shared {
    rings: RwLock<Rings>,
    ticks: broadcast::Sender<()>,
}

#[derive(Default)]
struct Rings {
    all: VecDeque<Point>,
    caches: BTreeMap<String, VecDeque<Point>>,
}

impl Series {
    pub(crate) fn sampling(sinew: Sinew) -> Self {
        let shared =
            Arc::new(Shared { rings: RwLock::default(), ticks: broadcast::Sender::new(16) });
        let sampler = tokio::spawn(sample_for_ever(sinew, Arc::clone(&shared)));
        Self { shared, sampler }
    }

    pub(crate) fn points(&self, of: &Of) -> Vec<Point> {
        self.shared.rings.read().of(of).copied().collect()
    }

    /// The point of the second that a tick ended.
    pub(crate) fn newest(&self, of: &Of) -> Option<Point> {
        self.shared.rings.read().of(of).next_back().copied()
    }

    /// Says when there is a new point.
    pub(crate) fn ticks(&self) -> broadcast::Receiver<()> {
        self.shared.ticks.subscribe()
    }

    /// The last so many seconds together.
    pub(crate) fn last(&self, of: &Of, seconds: usize) -> Point {
        let rings = self.shared.rings.read();
        rings.of(of).rev().take(seconds).copied().fold(Point::default(), Point::plus)
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
    let mut before = sinew.cache_stats();
    loop {
        ticks.tick().await;
        let now = sinew.cache_stats();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        shared.rings.write().add(at, &before, &now);
        before = now;
        // Fails while no one looks.
        let _ = shared.ticks.send(());
    }
}

impl Rings {
    fn of(&self, of: &Of) -> impl DoubleEndedIterator<Item = &Point> {
        let ring = match of {
            Of::AllCaches => Some(&self.all),
            Of::Cache(name) => self.caches.get(name),
        };
        ring.into_iter().flatten()
    }

    fn add(&mut self, at: u64, before: &BTreeMap<String, Stats>, now: &BTreeMap<String, Stats>) {
        let mut all = Point { at, ..Point::default() };
        for (name, stats) in now {
            let before = before.get(name).copied().unwrap_or_default();
            let point = Point::between(at, &before, stats);
            all = all.plus(point);
            if let Some(ring) = self.caches.get_mut(name) {
                push(ring, point);
            } else if self.caches.len() < CACHES_MAX {
                self.caches.insert(name.clone(), VecDeque::from([point]));
            }
        }
        push(&mut self.all, all);
    }
}

fn push(ring: &mut VecDeque<Point>, point: Point) {
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
        let names = || (0..=CACHES_MAX).map(|n| format!("cache-{n:03}"));
        let mut rings = Rings::default();
        let mut before = BTreeMap::new();
        for second in 1..=400 {
            let now: BTreeMap<String, Stats> = names().map(|name| (name, stats(second))).collect();
            rings.add(second, &before, &now);
            before = now;
        }
        assert_eq!(rings.caches.len(), CACHES_MAX);
        let of = Of::Cache("cache-000".to_owned());
        assert_eq!(rings.of(&of).count(), POINTS_MAX);
        assert!(rings.of(&of).all(|point| point.misses == 1));
        assert_eq!(rings.of(&Of::Cache("unknown".to_owned())).count(), 0);
        let newest = rings.of(&Of::AllCaches).next_back().unwrap();
        // Also those without a ring of their own.
        assert_eq!((newest.at, newest.misses), (400, 101));
    }
}
