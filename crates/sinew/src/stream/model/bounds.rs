//! How much there is of anything at most, and how long.

use std::time::Duration;

use crate::kernel::error::{Error, ErrorKind, Result};

/// How many partitions a topic has at most.
pub(in crate::stream) const PARTITIONS_MAX: u16 = 64;
/// What the attributes of an event may have beside its data, in bytes.
pub(in crate::stream) const ATTRIBUTES_LEN_MAX: usize = 16 << 10;
/// How many extensions an event has at most.
pub(in crate::stream) const EXTENSIONS_MAX: usize = 16;
/// How many entries a partition has, unless said, and at most.
pub(in crate::stream) const TOPIC_LEN_DEFAULT: u64 = 1_000_000;
pub(in crate::stream) const TOPIC_LEN_MAX: u64 = 100_000_000;
/// For how long finished entries stay, unless said.
pub(in crate::stream) const KEEP_DEFAULT: Duration = Duration::from_secs(3_600);
/// For how long a dedup id counts, unless said, and at most.
pub(in crate::stream) const DEDUP_DEFAULT: Duration = Duration::from_secs(600);
pub(in crate::stream) const DEDUP_MAX: Duration = Duration::from_secs(7 * DAY_S);
/// How much later an event is to come, or to be tried again, at most.
pub(in crate::stream) const DELAY_MAX: Duration = Duration::from_secs(365 * DAY_S);
/// How many events of a partition wait for their time at most.
pub(in crate::stream) const LATER_MAX: u64 = 100_000;
/// How many events a subscription handles at a time, at most and unless said.
pub(in crate::stream) const CONCURRENCY_MAX: usize = 1_024;
pub(in crate::stream) const CONCURRENCY_DEFAULT: usize = 16;
/// How many entries are read of a partition at once, or pulled, at most.
pub(in crate::stream) const READ_MAX: usize = 256;
/// How many outcomes the store is told of at once, and how long the first of them waits for others.
pub(in crate::stream) const ACKS_MAX: usize = 256;
pub(in crate::stream) const ACK_AFTER: Duration = Duration::from_millis(5);
/// How long the lease of a consumer or of a pull is.
pub(in crate::stream) const LEASE_DEFAULT: Duration = Duration::from_secs(30);
pub(in crate::stream) const LEASE_MIN: Duration = Duration::from_secs(1);
pub(in crate::stream) const LEASE_MAX: Duration = Duration::from_secs(3_600);
/// How many entries are taken at once from one who has fallen.
pub(in crate::stream) const CLAIM_MAX: usize = 100;
/// How many parked entries are taken at once, and how many delayed events are written at once.
pub(in crate::stream) const DUE_MAX: usize = 100;
/// How often a handler is called for an event that it fails.
pub(in crate::stream) const ATTEMPTS_DEFAULT: u32 = 8;
pub(in crate::stream) const ATTEMPTS_MAX: u32 = 1_000;
/// How often a handler may ask to be called again for one event.
pub(in crate::stream) const RETRIES_MAX: u32 = 10_000;
/// So many deliveries that ended with their process make a dead letter.
pub(in crate::stream) const CRASHES_MAX: u32 = 20;
/// How many parked events of a partition its owner has in memory; it reads no more meanwhile.
pub(in crate::stream) const PARKED_MAX: usize = 10_000;
/// How long an event waits whose dead letter has no room.
pub(in crate::stream) const FULL_WAIT: Duration = Duration::from_secs(60);
/// How many dead letters a partition has at most, and for how long.
pub(in crate::stream) const DEAD_LEN_MAX: u64 = 100_000;
pub(in crate::stream) const DEAD_KEEP: Duration = Duration::from_secs(90 * DAY_S);
/// How many dead letters are looked at to count them.
pub(in crate::stream) const DEAD_LOOK_MAX: usize = 10_000;
/// A group that no one has read for so long no longer keeps what it has not finished, unless said.
pub(in crate::stream) const FORGET_AFTER: Duration = Duration::from_secs(7 * DAY_S);
/// How many entries of a partition are trimmed at once, about.
pub(in crate::stream) const TRIM_MAX: usize = 10_000;
/// How many topics a tenant's list has, and how many a process knows of.
pub(in crate::stream) const TOPICS_MAX: usize = 10_000;
/// What a call of a batch has at most.
pub(in crate::stream) const BATCH_MAX: usize = 128;
pub(in crate::stream) const BATCH_LEN_MAX: usize = 1 << 20;
/// How often a publish looks again at how many partitions there are.
pub(in crate::stream) const LOOKS_MAX: usize = 3;
/// How many calls of a batch are under way.
pub(in crate::stream) const BATCHES_MAX: usize = 4;
/// How many entries a consumer gives back in one step, and how long one that ends tries to say so.
pub(in crate::stream) const LEAVE_MAX: usize = 1_000;
pub(in crate::stream) const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);
/// How many dead letters are redriven or removed in one step.
pub(in crate::stream) const REDRIVE_MAX: usize = 100;
/// How long what waits for entries does so.
pub(in crate::stream) const BLOCK: Duration = Duration::from_secs(2);
/// What the names of pulls begin with, as ack.lua has it.
pub(in crate::stream) const PULL: &str = "pull-";
/// Who has what waits for a retry, and who has what a partition's owner reads.
pub(in crate::stream) const PARKED: &str = "~parked";
pub(in crate::stream) const ORDERED: &str = "~ordered";

const DAY_S: u64 = 86_400;

/// How many entries to ask for at once: fewer where so many do not come within the time of a call.
#[derive(Clone, Copy, Debug)]
pub(in crate::stream) struct Portion(usize);

impl Default for Portion {
    fn default() -> Self {
        Self(READ_MAX)
    }
}

impl Portion {
    pub(in crate::stream) fn most(self) -> usize {
        self.0
    }

    pub(in crate::stream) fn came(&mut self) {
        self.0 = (self.0 + 4).min(READ_MAX);
    }

    pub(in crate::stream) fn failed(&mut self, error: &Error) {
        if matches!(error.kind(), ErrorKind::Timeout { .. }) {
            self.late();
        }
    }

    pub(in crate::stream) fn late(&mut self) {
        self.0 = (self.0 / 4).max(1);
    }
}

/// How often a consumer says that it lives.
pub(in crate::stream) fn tick_every(lease: Duration) -> Duration {
    (lease / 3).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

/// How long after the end of a lease its consumer is taken for dead.
pub(in crate::stream) fn grace(lease: Duration) -> Duration {
    (lease / 3).clamp(Duration::from_millis(200), Duration::from_secs(5))
}

/// # Errors
/// `Rejected` for a lease out of bounds.
pub(in crate::stream) fn check_lease(lease: Duration) -> Result<()> {
    match (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "a lease of {lease:?} is out of bounds: expected 1 s to 1 h"
        ))),
    }
}

/// # Errors
/// `Rejected` for a number of partitions out of bounds.
pub(in crate::stream) fn check_partitions(partitions: u16) -> Result<()> {
    match (1..=PARTITIONS_MAX).contains(&partitions) {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "{partitions} partitions are out of bounds: expected 1 to {PARTITIONS_MAX}"
        ))),
    }
}

pub(in crate::stream) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_come_in_time_is_asked_for_in_smaller_pieces() {
        let late = Error::new(ErrorKind::Timeout { maybe_applied: true }, "late");
        let other = Error::new(ErrorKind::Unavailable { maybe_applied: true }, "gone");
        let mut portion = Portion::default();
        portion.failed(&other);
        assert_eq!(portion.most(), READ_MAX);
        let lens = [64, 16, 4, 1, 1].map(|_| {
            portion.failed(&late);
            portion.most()
        });
        assert_eq!(lens, [64, 16, 4, 1, 1]);
        for _ in 0..READ_MAX {
            portion.came();
        }
        assert_eq!(portion.most(), READ_MAX);
    }
}
