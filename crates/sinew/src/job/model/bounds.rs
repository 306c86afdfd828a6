//! How much there is of anything at most, and how long.

use std::time::Duration;

use crate::kernel::error::{Error, Result};

const DAY_S: u64 = 86_400;

/// How many partitions a queue has at most: as many as one character of an id tells apart.
pub(in crate::job) const PARTITIONS_MAX: u16 = 32;
/// How many unfinished jobs a partition has at most, unless said.
pub(in crate::job) const QUEUE_LEN_DEFAULT: u64 = 50_000_000;
/// How many jobs one call enqueues at most, and how long they may be together, in bytes. One alone may be longer.
pub(in crate::job) const ENQUEUE_MAX: usize = 128;
pub(in crate::job) const ENQUEUE_LEN_MAX: usize = 1 << 20;
/// Priorities are 0 to 9; 9 is first.
pub(in crate::job) const PRIORITY_MAX: u8 = 9;
pub(in crate::job) const PRIORITY_DEFAULT: u8 = 5;
/// How much later a job is to run, or to be tried again, at most.
pub(in crate::job) const DELAY_MAX: Duration = Duration::from_secs(365 * DAY_S);
/// How long a key of a job may be, in bytes: its length is one byte of a record.
pub(in crate::job) const JOB_KEY_LEN_MAX: usize = 128;
/// How many jobs a chain has at most.
pub(in crate::job) const CHAIN_MAX: usize = 16;
/// How many jobs a batch has at most.
pub(in crate::job) const BATCH_MAX: u64 = 1_000_000;
/// How long a result may be, in bytes.
pub(in crate::job) const RESULT_LEN_MAX: usize = 1 << 20;

/// How many jobs a worker runs at a time of a queue, at most and unless said.
pub(in crate::job) const CONCURRENCY_MAX: usize = 1_024;
pub(in crate::job) const CONCURRENCY_DEFAULT: usize = 16;
/// How many jobs a lane has at most: so many are taken from one that has fallen in one step.
pub(in crate::job) const LANE_SLOTS_MAX: usize = 128;
/// How many ends one turn tells of at most.
pub(in crate::job) const SETTLES_MAX: usize = 256;
/// How many numbers one turn adds to the statistics at most.
pub(in crate::job) const COUNTS_MAX: usize = 64;
/// How long what a turn gives, or a page has, may be before the last of it, in bytes: one answer is to hold up no other.
pub(in crate::job) const ANSWER_LEN_MAX: usize = 1 << 20;
/// How many counters a minute or a day has: what is new to it is then counted with the other kinds.
pub(in crate::job) const COUNTERS_MAX: usize = 2_048;
/// How many delayed jobs that are due one step moves at most. A turn moves as many as it takes, and some at least; and with each
/// millisecond since one has moved any so many more, for one that is urgent may be due behind the others.
pub(in crate::job) const PROMOTE_MAX: usize = 256;
pub(in crate::job) const PROMOTE_MIN: usize = 32;
pub(in crate::job) const PROMOTE_PER_MS: usize = 16;
/// How many lanes a partition has at most; and how many when one is begun by hand. Whoever reserves and never finishes leaves
/// room for workers.
pub(in crate::job) const LANES_MAX: usize = 4_096;
pub(in crate::job) const LANES_MAX_BY_HAND: usize = LANES_MAX / 2;
/// What the name of a lane begins with that is begun by hand.
pub(in crate::job) const BY_HAND: &str = "pull-";
/// How many tokens wait for those who wait for jobs.
pub(in crate::job) const WAKES_MAX: usize = 64;

/// How long the lease of a lane is.
pub(in crate::job) const LEASE_DEFAULT: Duration = Duration::from_secs(30);
pub(in crate::job) const LEASE_MIN: Duration = Duration::from_secs(1);
pub(in crate::job) const LEASE_MAX: Duration = Duration::from_secs(3_600);
/// How long after its end a lane is taken for dead.
pub(in crate::job) const LEASE_GRACE: Duration = Duration::from_secs(2);
/// A store in which no lane has said that it lives for so long was itself away: no lane is to suffer for it. Longer than
/// [`BLOCK`], after which those look who wait for jobs by hand: there may be no others to say so.
pub(in crate::job) const STORE_AWAY: Duration = Duration::from_secs(8);
/// For how long lanes are spared then, at most.
pub(in crate::job) const AWAY_LEASE: Duration = Duration::from_secs(30);
/// How often lanes write down that the store is there.
pub(in crate::job) const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// So many deliveries that ended with their process bury a job.
pub(in crate::job) const CRASHES_MAX: u32 = 5;

/// How often a handler is called for a job that it fails.
pub(in crate::job) const ATTEMPTS_DEFAULT: u32 = 10;
pub(in crate::job) const ATTEMPTS_MAX: u32 = 1_000;
/// How often a handler may put its job off.
pub(in crate::job) const SNOOZES_MAX: u32 = 10_000;
/// For how long a handler may run.
pub(in crate::job) const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1_800);
pub(in crate::job) const TIMEOUT_MAX: Duration = Duration::from_secs(30 * DAY_S);
/// How long a job waits whose kind no worker here knows, and for how long it does so before it is dead.
pub(in crate::job) const UNKNOWN_PAUSE: Duration = Duration::from_secs(60);
pub(in crate::job) const UNKNOWN_KEEP: Duration = Duration::from_secs(DAY_S);

pub(in crate::job) const NOTE_LEN_MAX: usize = 4 << 10;
pub(in crate::job) const NOTE_RUNS_MAX: usize = 8;
pub(in crate::job) const ERROR_LEN_MAX: usize = 512;
pub(in crate::job) const FINGERPRINT_LEN: usize = 16;
/// What is kept of a job's log.
pub(in crate::job) const LOG_LINES_MAX: usize = 100;
pub(in crate::job) const LOG_LEN_MAX: usize = 16 << 10;
/// How often progress is told.
pub(in crate::job) const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// How long a done job is kept where that is asked for, at most; and where only someone waits for it.
pub(in crate::job) const RETAIN_MAX: Duration = Duration::from_secs(365 * DAY_S);
pub(in crate::job) const RETAIN_AWAITED: Duration = Duration::from_secs(60);
/// How many done jobs are kept at most.
pub(in crate::job) const KEPT_LEN_MAX: u64 = 100_000;
/// Of how many jobs that are done it is kept that they are, and for how long.
pub(in crate::job) const PAST_LEN_MAX: u64 = 10_000;
pub(in crate::job) const PAST_KEEP: Duration = Duration::from_secs(7 * DAY_S);
/// How many dead jobs there are at most, and for how long.
pub(in crate::job) const DEAD_LEN_MAX: u64 = 100_000;
pub(in crate::job) const DEAD_KEEP: Duration = Duration::from_secs(90 * DAY_S);
/// How many dead jobs one step retries or removes.
pub(in crate::job) const REDRIVE_MAX: usize = 128;
/// How many jobs a page has.
pub(in crate::job) const PAGE_MAX: usize = 100;
/// For how long statistics are kept: by the minute, and by the day.
pub(in crate::job) const MINUTES_KEEP: Duration = Duration::from_secs(26 * 3_600);
pub(in crate::job) const DAYS_KEEP: Duration = Duration::from_secs(400 * DAY_S);

/// How long a unique name counts at most where a window is given.
pub(in crate::job) const WINDOW_MAX: Duration = Duration::from_secs(365 * DAY_S);
/// For how long a batch is known after it has changed.
pub(in crate::job) const BATCH_KEEP: Duration = Duration::from_secs(90 * DAY_S);
/// How many are enqueued elsewhere in one step, and for how long no one else does so.
pub(in crate::job) const OUTBOX_MAX: usize = 16;
pub(in crate::job) const OUTBOX_LEASE: Duration = Duration::from_secs(30);
/// How many recurring jobs a queue has, and how many missed ticks are made up for.
pub(in crate::job) const RECURRING_MAX: usize = 1_000;
pub(in crate::job) const MISSED_MAX: usize = 1_000;
/// How late a tick may be without being missed.
pub(in crate::job) const TICK_GRACE: Duration = Duration::from_secs(60);
/// How many queues a tenant's list has, and how many a process knows of.
pub(in crate::job) const QUEUES_MAX: usize = 10_000;

/// How long what waits for jobs does so.
pub(in crate::job) const BLOCK: Duration = Duration::from_secs(5);
/// How long the first end of a run waits for others, where runs are under way.
pub(in crate::job) const FLUSH_AFTER: Duration = Duration::from_millis(2);

/// How often a lane says that it lives.
pub(in crate::job) fn tick_every(lease: Duration) -> Duration {
    (lease / 3).clamp(Duration::from_millis(50), Duration::from_secs(1))
}

/// # Errors
/// `Rejected` for a lease out of bounds.
pub(in crate::job) fn check_lease(lease: Duration) -> Result<()> {
    check(lease, LEASE_MIN, LEASE_MAX, "a lease", "1 s to 1 h")
}

/// # Errors
/// `Rejected` for a time out of bounds.
pub(in crate::job) fn check_timeout(timeout: Duration) -> Result<()> {
    check(timeout, Duration::from_millis(1), TIMEOUT_MAX, "a time limit", "1 ms to 30 days")
}

/// # Errors
/// `Rejected` for a delay out of bounds.
pub(in crate::job) fn check_delay(delay: Duration) -> Result<()> {
    check(delay, Duration::ZERO, DELAY_MAX, "a delay", "at most 365 days")
}

fn check(time: Duration, min: Duration, max: Duration, what: &str, rule: &str) -> Result<()> {
    match (min..=max).contains(&time) {
        true => Ok(()),
        false => {
            let time = in_words(time);
            Err(Error::rejected(format!("{what} of {time} is out of bounds: expected {rule}")))
        }
    }
}

/// A length of time, for messages: in days where it has some, and nothing beside them.
pub(in crate::job) fn in_words(time: Duration) -> String {
    let is_days = time.subsec_nanos() == 0 && time.as_secs().is_multiple_of(DAY_S);
    match time.as_secs() / DAY_S {
        0 if time.is_zero() => "0 s".to_owned(),
        days if is_days && days > 1 => format!("{days} days"),
        _ => format!("{time:?}"),
    }
}

/// # Errors
/// `Rejected` for a number of partitions out of bounds.
pub(in crate::job) fn check_partitions(partitions: u16) -> Result<()> {
    match (1..=PARTITIONS_MAX).contains(&partitions) {
        true => Ok(()),
        false => Err(Error::rejected(format!(
            "{partitions} partitions are out of bounds: expected 1 to {PARTITIONS_MAX}"
        ))),
    }
}

pub(in crate::job) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_refused_is_told_as_it_may_have_been_said() {
        let told = |time| check_delay(time).unwrap_err().to_string();
        assert!(told(Duration::from_secs(366 * DAY_S)).starts_with("a delay of 366 days is out"));
        let times = [Duration::ZERO, Duration::from_millis(10), Duration::from_secs(DAY_S + 1)];
        assert_eq!(times.map(in_words), ["0 s", "10ms", "86401s"]);
    }
}
