//! What is answered while Redis does not answer: all, nothing, or this process's share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::algorithm::{Demand, Mode, Receipt, Row, Rule};
use super::backend::Reply;
use super::engine::Ask;
use super::memory::MemoryBackend;
use crate::kernel::clock::Clock;
use crate::kernel::key::Key;

/// What a limit answers while Redis does not answer. Every such answer says so:
/// [`Decision::is_degraded`](super::Decision::is_degraded).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Down {
    /// Everything is admitted, and nothing is counted.
    Open,
    /// Nothing is admitted.
    Closed,
    /// This process counts by itself, and admits its share: the limit, divided by the number of
    /// processes that lived when Redis last answered.
    ///
    /// Up to twice the limit passes in all while only some processes are cut off, or right after a
    /// change from one to the other. A share is never less than one; a cost of more than the share is
    /// denied. Processes are counted from the first limit on that they ask for, every two seconds: one
    /// that asks for its first while Redis is away takes itself for the only one.
    ///
    /// It has 16 MiB for what it counts, some 20,000 subjects, and forgets those first that were not
    /// asked for the longest time, which then have all of their share again.
    #[default]
    Local,
}

impl Down {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Open, Self::Closed, Self::Local];

    /// The word for it in configurations and in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Local => "local",
        }
    }
}

/// How often a process says that it lives.
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(2);
/// A process that has not said so for this long is gone.
pub(crate) const GONE_AFTER: Duration = Duration::from_secs(7);
/// A Redis that was lost and comes back empty hears of all processes within so many heartbeats.
const HEARD: usize = 4;
/// More would be a share of nothing.
const PROCESSES_MAX: u64 = 100_000;
/// When to try again what waits for Redis.
pub(super) const RETRY_US: u64 = 1_000_000;
const BYTES_MAX: usize = 16 << 20;

/// The limits of this process alone.
pub(super) struct Fallback {
    pub(super) local: MemoryBackend,
    /// How many processes lived, at each of the last heartbeats.
    heard: [AtomicU64; HEARD],
    beats: AtomicUsize,
}

impl Fallback {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            local: MemoryBackend::new(clock, BYTES_MAX),
            heard: Default::default(),
            beats: AtomicUsize::new(0),
        }
    }

    /// Redis has told how many processes live.
    pub(super) fn heard_of(&self, processes: u64) {
        let beat = self.beats.fetch_add(1, Ordering::Relaxed);
        self.heard[beat % HEARD].store(processes.min(PROCESSES_MAX), Ordering::Relaxed);
    }

    /// How many processes live, as far as is known.
    pub(super) fn processes(&self) -> u64 {
        self.heard.iter().map(|heard| heard.load(Ordering::Relaxed)).max().unwrap_or(0).max(1)
    }

    /// Decides as each limit says: on all of them together, as ever.
    pub(super) fn check(&self, asks: &[&Ask]) -> Reply {
        let is_shut =
            asks.iter().any(|ask| ask.limit.down() == Down::Closed && !ask.demand.is_shadow);
        let local: Vec<(&Key, Demand)> = asks
            .iter()
            .filter(|ask| ask.limit.down() == Down::Local)
            .map(|ask| {
                let demand = Demand { rule: self.share(ask), want: ask.demand.cost, ..ask.demand };
                (&ask.key, demand)
            })
            .collect();
        let mode = if is_shut { Mode::Look } else { Mode::Charge };
        let Reply { now_us, admitted, rows } = self.local.check_now(&local, mode);
        let mut counted = rows.into_iter();
        let rows = asks.iter().map(|ask| {
            let capacity = ask.demand.rule.capacity();
            let open = Row {
                admits: true,
                remaining: capacity,
                reset_us: 0,
                retry_us: Some(0),
                granted: 0,
                mark: 0,
            };
            let shut = Row {
                admits: false,
                remaining: 0,
                reset_us: RETRY_US,
                retry_us: Some(RETRY_US),
                ..open
            };
            match ask.limit.down() {
                Down::Open => open,
                Down::Closed => shut,
                Down::Local => {
                    let row = counted.next().unwrap_or(shut);
                    // More than the share, and not more than the limit: it can pass when Redis is back.
                    let waits = row.retry_us.is_none() && ask.demand.cost <= capacity;
                    Row { retry_us: if waits { Some(RETRY_US) } else { row.retry_us }, ..row }
                }
            }
        });
        Reply { now_us, admitted: admitted && !is_shut, rows: rows.collect() }
    }

    /// Settles what was charged here.
    pub(super) fn settle(&self, ask: &Ask, receipt: &Receipt, actual: u64) {
        if ask.limit.down() == Down::Local {
            self.local.settle_now(&ask.key, self.share(ask), receipt, actual);
        }
    }

    fn share(&self, ask: &Ask) -> Rule {
        ask.demand.rule.share(self.processes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_processes_is_the_largest_of_the_last_few() {
        let fallback = Fallback::new(Clock::manual().0);
        assert_eq!(fallback.processes(), 1, "at least this one");
        for processes in [3, 5, 4] {
            fallback.heard_of(processes);
        }
        assert_eq!(fallback.processes(), 5);
        // A Redis that came back empty has heard of this one only, and then of all the others.
        for processes in [1, 1, 4] {
            fallback.heard_of(processes);
        }
        assert_eq!(fallback.processes(), 4);
    }
}
