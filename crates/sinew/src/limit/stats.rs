//! Counters of one limit in one process.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Counter;

use crate::kernel::telemetry;

/// What a limit decided in this process since it started, over all tenants and subjects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitStats {
    /// Requests that were charged to it. Those that another limit denied are not counted.
    pub admitted: u64,
    /// Requests that it denied.
    pub denied: u64,
    /// Requests that it would have denied, were it not a [`Limit::shadow`](super::Limit::shadow).
    pub shadow_denied: u64,
    /// Of all these, those that were decided without Redis.
    pub degraded: u64,
}

/// What a limit did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Admitted,
    Denied,
    ShadowDenied,
}

const OUTCOMES: [&str; 3] = ["admitted", "denied", "shadow_denied"];

/// The counters behind [`LimitStats`], and the same as metrics.
pub(super) struct Recorder {
    counts: [AtomicU64; 3],
    metrics: [Counter; 3],
    degraded: AtomicU64,
    degraded_metric: Counter,
}

impl Recorder {
    pub(super) fn new(limit: &str) -> Self {
        Self {
            counts: Default::default(),
            metrics: OUTCOMES.map(|decision| {
                metrics::counter!(telemetry::LIMIT_DECISIONS, "limit" => limit.to_owned(), "decision" => decision)
            }),
            degraded: AtomicU64::new(0),
            degraded_metric: metrics::counter!(telemetry::LIMIT_DEGRADED, "limit" => limit.to_owned()),
        }
    }

    #[inline]
    pub(super) fn count(&self, outcome: Outcome) {
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.metrics[outcome as usize].increment(1);
    }

    pub(super) fn degraded(&self) {
        self.degraded.fetch_add(1, Ordering::Relaxed);
        self.degraded_metric.increment(1);
    }

    pub(super) fn stats(&self) -> LimitStats {
        let count = |outcome: Outcome| self.counts[outcome as usize].load(Ordering::Relaxed);
        LimitStats {
            admitted: count(Outcome::Admitted),
            denied: count(Outcome::Denied),
            shadow_denied: count(Outcome::ShadowDenied),
            degraded: self.degraded.load(Ordering::Relaxed),
        }
    }
}
