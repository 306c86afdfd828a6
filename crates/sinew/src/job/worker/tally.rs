//! What a worker did: for metrics, for the statistics of the store, and for whoever ends it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::super::model::COUNTS_MAX;
use super::settings::Kind;
use crate::kernel::telemetry;

/// What jobs are counted under that no handler is registered for.
pub(super) const OTHER: &str = "other";
/// What jobs took at most, in milliseconds, as the statistics part them; and then those that took longer.
const BOUNDS_MS: [u64; 16] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000];

/// What a worker did, when it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Jobs that were done.
    pub done: u64,
    /// Times that a job failed, and is tried again.
    pub failed: u64,
    /// Times that a job was put off.
    pub snoozed: u64,
    /// Jobs that are dead.
    pub dead: u64,
    /// Jobs that were handed back unfinished.
    pub given_back: u64,
    /// Jobs that someone else had by the time they ended, or that were cancelled.
    pub lost: u64,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Done,
    Failed,
    Snoozed,
    Dead,
    Back,
    Cancelled,
}

impl Outcome {
    /// As the statistics of a kind have it; nothing where they do not.
    fn field(self) -> Option<&'static str> {
        match self {
            Self::Done => Some("done"),
            Self::Failed => Some("failed"),
            Self::Snoozed => Some("snoozed"),
            Self::Dead => Some("dead"),
            Self::Back | Self::Cancelled => None,
        }
    }
}

/// What became of all jobs of a worker.
#[derive(Default)]
pub(super) struct Tally {
    done: AtomicU64,
    failed: AtomicU64,
    snoozed: AtomicU64,
    dead: AtomicU64,
    given_back: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    /// The store has heard of one.
    pub(super) fn accepted(&self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Done => &self.done,
            Outcome::Failed => &self.failed,
            Outcome::Snoozed => &self.snoozed,
            Outcome::Dead => &self.dead,
            Outcome::Back => &self.given_back,
            Outcome::Cancelled => &self.lost,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lost(&self, jobs: usize) {
        self.lost.fetch_add(u64::try_from(jobs).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn given_back(&self, jobs: usize) {
        self.given_back.fetch_add(u64::try_from(jobs).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn finished(&self) -> Finished {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Finished {
            done: of(&self.done),
            failed: of(&self.failed),
            snoozed: of(&self.snoozed),
            dead: of(&self.dead),
            given_back: of(&self.given_back),
            lost: of(&self.lost),
        }
    }
}

/// The metrics of a queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct QueueCounts {
    /// Of each kind, and then of those that no handler is registered for.
    kinds: std::sync::Arc<[KindCounts]>,
    pub(super) wait: Histogram,
    pub(super) running: Gauge,
    pub(super) lost_lease: Counter,
    pub(super) lost_cancelled: Counter,
}

/// The metrics of a kind of job in a queue.
struct KindCounts {
    done: Counter,
    failed: Counter,
    snoozed: Counter,
    dead: Counter,
    cancelled: Counter,
    lost: Counter,
    buried: Counter,
    duration: Histogram,
}

impl QueueCounts {
    pub(super) fn new(queue: &str, kinds: &[Kind]) -> Self {
        let names = kinds.iter().map(|kind| &*kind.name).chain([OTHER]);
        let lost = |cause: &'static str| metrics::counter!(telemetry::JOB_LOST, "queue" => queue.to_owned(), "cause" => cause);
        Self {
            kinds: names.map(|kind| KindCounts::new(queue, kind)).collect(),
            wait: metrics::histogram!(telemetry::JOB_WAIT, "queue" => queue.to_owned()),
            running: metrics::gauge!(telemetry::JOB_RUNNING, "queue" => queue.to_owned()),
            lost_lease: lost("lease"),
            lost_cancelled: lost("cancelled"),
        }
    }

    /// A run has ended, whether its end counts or not.
    pub(super) fn ended(&self, kind: Option<usize>, outcome: Outcome, took: Duration) {
        let Some(counts) = self.of(kind) else { return };
        let counter = match outcome {
            Outcome::Done => &counts.done,
            Outcome::Failed => &counts.failed,
            Outcome::Snoozed => &counts.snoozed,
            Outcome::Dead => &counts.dead,
            Outcome::Cancelled => &counts.cancelled,
            Outcome::Back => &counts.lost,
        };
        counter.increment(1);
        counts.duration.record(took);
    }

    /// It is dead, and the store knows.
    pub(super) fn buried(&self, kind: Option<usize>) {
        if let Some(counts) = self.of(kind) {
            counts.buried.increment(1);
        }
    }

    fn of(&self, kind: Option<usize>) -> Option<&KindCounts> {
        kind.map_or_else(|| self.kinds.last(), |kind| self.kinds.get(kind))
    }
}

impl KindCounts {
    fn new(queue: &str, kind: &str) -> Self {
        let of = |outcome: &'static str| {
            metrics::counter!(
                telemetry::JOB_FINISHED,
                "queue" => queue.to_owned(),
                "kind" => kind.to_owned(),
                "outcome" => outcome
            )
        };
        Self {
            done: of("done"),
            failed: of("failed"),
            snoozed: of("snoozed"),
            dead: of("dead"),
            cancelled: of("cancelled"),
            lost: of("lost"),
            buried: metrics::counter!(telemetry::JOB_DEAD, "queue" => queue.to_owned(), "kind" => kind.to_owned()),
            duration: metrics::histogram!(telemetry::JOB_DURATION, "queue" => queue.to_owned(), "kind" => kind.to_owned()),
        }
    }
}

/// What a lane has not told the statistics of the store: so many of a field of a kind.
#[derive(Default)]
pub(super) struct Statistics(BTreeMap<(Option<usize>, Field), u64>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Outcome(Outcome),
    /// Took at most the bound of this index.
    Took(usize),
}

impl Statistics {
    pub(super) fn add(&mut self, kind: Option<usize>, outcome: Outcome, took_ms: u64) {
        if outcome.field().is_none() {
            return;
        }
        let bucket = bucket_of(took_ms);
        *self.0.entry((kind, Field::Outcome(outcome))).or_default() += 1;
        *self.0.entry((kind, Field::Took(bucket))).or_default() += 1;
    }

    /// As many as one turn tells; the others stay for the next.
    pub(super) fn take(&mut self, kinds: &[Kind]) -> Vec<(String, u64)> {
        let mut told = Vec::new();
        while told.len() < COUNTS_MAX
            && let Some(((kind, field), by)) = self.0.pop_first()
        {
            let kind = kind.and_then(|kind| kinds.get(kind)).map_or(OTHER, |kind| &*kind.name);
            told.push((field.name(kind), by));
        }
        told
    }
}

impl Field {
    fn name(self, kind: &str) -> String {
        match self {
            Self::Outcome(outcome) => {
                format!("k:{kind}:{}", outcome.field().unwrap_or_default())
            }
            Self::Took(bucket) => took_name(kind, bucket),
        }
    }
}

/// The counter of those that took as long.
pub(in crate::job) fn took_field(kind: &str, took_ms: u64) -> String {
    took_name(kind, bucket_of(took_ms))
}

fn bucket_of(took_ms: u64) -> usize {
    BOUNDS_MS.partition_point(|bound| *bound < took_ms)
}

fn took_name(kind: &str, bucket: usize) -> String {
    match BOUNDS_MS.get(bucket) {
        Some(bound) => format!("h:{kind}:{bound}"),
        None => format!("h:{kind}:inf"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_told_by_kind_and_time_and_no_more_than_a_turn_takes() {
        let mut statistics = Statistics::default();
        for took_ms in [0, 1, 2, 400_000] {
            statistics.add(None, Outcome::Done, took_ms);
        }
        statistics.add(None, Outcome::Back, 1);
        let told = statistics.take(&[]);
        let expected =
            [("k:other:done", 4), ("h:other:1", 2), ("h:other:2", 1), ("h:other:inf", 1)];
        let expected = expected.map(|(name, by)| (name.to_owned(), by));
        assert_eq!(told, expected);
        for kind in 0..80 {
            statistics.add(Some(kind), Outcome::Failed, 7);
        }
        assert_eq!(statistics.take(&[]).len(), COUNTS_MAX);
        assert_eq!(statistics.take(&[]).len(), COUNTS_MAX);
        assert_eq!(statistics.take(&[]).len(), 160 - 2 * COUNTS_MAX);
    }
}
