//! The last minutes, a point a second.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde::Serialize;
use sinew::{Sinew, Stats};
use tokio::sync::broadcast;

const POINTS_MAX: usize = 300;
const EVERY: Duration = Duration::from_secs(1);

/// One second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    /// Seconds since the Unix epoch
    pub(crate) at: u64,
    /// Look-ups in this second
    pub(crate) requests: u64,
    /// Of these, hits
    pub(crate) hits: u64,
}

/// Points, sampled in the background for as long as someone holds the series.
pub(crate) struct Series {
    shared: Arc<Shared>,
    sampler: tokio::task::JoinHandle<()>,
}

struct Shared {
    points: RwLock<VecDeque<Point>>,
    new: broadcast::Sender<Point>,
}

impl Series {
    pub(crate) fn sampling(sinew: Sinew) -> Self {
        let shared =
            Arc::new(Shared { points: RwLock::default(), new: broadcast::Sender::new(16) });
        let sampler = tokio::spawn(sample_for_ever(sinew, Arc::clone(&shared)));
        Self { shared, sampler }
    }

    pub(crate) fn points(&self) -> Vec<Point> {
        self.shared.points.read().iter().copied().collect()
    }

    pub(crate) fn new_points(&self) -> broadcast::Receiver<Point> {
        self.shared.new.subscribe()
    }

    /// Look-ups and hits of the last so many seconds.
    pub(crate) fn last(&self, seconds: usize) -> (u64, u64) {
        let points = self.shared.points.read();
        let last = points.iter().rev().take(seconds);
        last.fold((0, 0), |(requests, hits), p| (requests + p.requests, hits + p.hits))
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
    let mut before = total(&sinew);
    loop {
        ticks.tick().await;
        let now = total(&sinew);
        let point = Point {
            at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            requests: now.requests() - before.requests(),
            hits: now.hits() - before.hits(),
        };
        before = now;
        {
            let mut points = shared.points.write();
            points.push_back(point);
            if points.len() > POINTS_MAX {
                points.pop_front();
            }
        }
        // Fails while no one looks.
        let _ = shared.new.send(point);
    }
}

pub(crate) fn total(sinew: &Sinew) -> Stats {
    sinew.cache_stats().into_values().fold(Stats::default(), Stats::plus)
}
