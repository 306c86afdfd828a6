//! Counters of one limit in one process.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Counter;

use crate::kernel::heat::Heat;
use crate::kernel::key::Key;
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

/// A subject, and how often a limit decides on it; see [`Limiter::busiest`](super::Limiter::busiest).
#[derive(Clone, Debug, PartialEq)]
pub struct BusySubject {
    /// As it is written after the limit's name in a key: `ada`, `456:list`.
    pub subject: String,
    /// Of this process's decisions by the limit on subjects of the tenant, of late, about.
    pub share: f64,
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
    heat: Heat,
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
            heat: Heat::default(),
        }
    }

    /// Counts a decision. For how many this one stands, if its subject is to be told to
    /// [`Recorder::sampled`].
    #[inline]
    pub(super) fn count(&self, outcome: Outcome) -> Option<u64> {
        let before = self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.metrics[outcome as usize].increment(1);
        stands_for(before)
    }

    #[cold]
    pub(super) fn sampled(&self, key: &Key, weight: u64) {
        self.heat.add(key.as_str(), weight);
    }

    /// The subjects whose keys begin so, busiest first.
    pub(super) fn busiest(&self, prefix: &str, count: usize) -> Vec<BusySubject> {
        let mut hottest = self.heat.hottest(prefix);
        hottest.truncate(count);
        let subject = |(key, share): (String, f64)| {
            let subject = key.strip_prefix(prefix).unwrap_or(&key).to_owned();
            BusySubject { subject, share }
        };
        hottest.into_iter().map(subject).collect()
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

/// Decisions of one kind of which each is a sample. Of twice as many, it is every other one, and so on.
const SAMPLED_WHOLE: u64 = 256;
/// In the end it is one of 2 to the power of this.
const RARITY_MAX: u32 = 10;
/// The golden ratio, as a share of all numbers: its multiples fall evenly everywhere, so that no loop
/// over subjects meets the samples at the same subject each time.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// For how many decisions one stands, after so many, if it is a sample.
#[inline]
fn stands_for(before: u64) -> Option<u64> {
    let rarity = (before / SAMPLED_WHOLE).checked_ilog2().map_or(0, |power| power + 1);
    let rarity = rarity.min(RARITY_MAX);
    (before.wrapping_mul(GOLDEN).leading_zeros() >= rarity).then_some(1 << rarity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_all_and_for_each_subject_of_a_loop_alike() {
        const DECISIONS: u64 = 4_000_000;
        for subjects in [1, 2, 7, 16, 100, 256] {
            let mut weights = vec![0; subjects];
            for (before, subject) in (0..DECISIONS).zip((0..subjects).cycle()) {
                weights[subject] += stands_for(before).unwrap_or(0);
            }
            let fair = DECISIONS / subjects as u64;
            for weight in weights {
                assert!((fair * 4 / 5..=fair * 6 / 5).contains(&weight), "{weight} of {fair}");
            }
        }
        assert!((0..SAMPLED_WHOLE).all(|before| stands_for(before) == Some(1)));
        let late = (DECISIONS..DECISIONS + 1_024_000).filter_map(stands_for);
        assert!((900..1_100).contains(&late.count()));
    }
}
