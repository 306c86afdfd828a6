//! What a kind of job says of itself.

use std::time::Duration;

use super::model::{
    ATTEMPTS_DEFAULT, Backoff, PRIORITY_MAX, RETAIN_MAX, TIMEOUT_DEFAULT, check_attempts,
    check_timeout, in_words,
};
use crate::kernel::error::{Error, Result};

/// A kind of job: a type that is written down when it is enqueued, and read where it is run. `#[derive(Job)]` makes it one.
pub trait Job: Sized {
    /// What the kind is called in the store, for ever, whatever the type is called: 1 to 128 of `[A-Za-z0-9._-]`.
    const NAME: &'static str;
    /// The queue that its jobs go to, unless another is said: 1 to 64 of `[A-Za-z0-9._-]`.
    const QUEUE: &'static str = "default";

    /// How its jobs are run.
    fn options() -> JobOptions {
        JobOptions::default()
    }
}

/// How the jobs of one kind are run, unless one of them says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it is what Job::options answers"]
pub struct JobOptions {
    pub(super) attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) timeout: Duration,
    pub(super) retain: Option<Duration>,
    pub(super) priority: Option<u8>,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            attempts: ATTEMPTS_DEFAULT,
            backoff: Backoff::default(),
            timeout: TIMEOUT_DEFAULT,
            retain: None,
            priority: None,
        }
    }
}

impl JobOptions {
    /// How often a handler is called for a job that it fails, before it is dead: 1 to 1,000, 10 unless said.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// How long a failed job waits before it is tried again: 1 s, doubling to 1 h, unless said.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// For how long a handler may run: 1 ms to 30 days, 30 min unless said. Then it is dropped where it stands, and has
    /// failed.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For how long a done job is kept with its payload, result and log: up to 365 days. Not at all unless said; one with a
    /// result for a minute, for those who wait for it.
    pub fn retain(mut self, retain: Duration) -> Self {
        self.retain = Some(retain);
        self
    }

    /// Which jobs of a queue go first: 0 to 9, and 9 is first. 5 unless said.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// # Errors
    /// `Rejected` for what is out of bounds.
    pub(super) fn check(&self) -> Result<()> {
        check_attempts(self.attempts)?;
        self.backoff.check()?;
        check_timeout(self.timeout)?;
        if let Some(retain) = self.retain.filter(|retain| *retain > RETAIN_MAX) {
            return Err(Error::rejected(format!(
                "to keep a job for {} is out of bounds: expected at most 365 days",
                in_words(retain)
            )));
        }
        if let Some(priority) = self.priority.filter(|priority| *priority > PRIORITY_MAX) {
            return Err(Error::rejected(format!(
                "a priority of {priority} is out of bounds: expected 0 to {PRIORITY_MAX}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_told() {
        assert!(JobOptions::default().check().is_ok());
        let options = JobOptions::default;
        let day = Duration::from_secs(86_400);
        for bad in [
            options().attempts(0),
            options().timeout(Duration::ZERO),
            options().retain(366 * day),
            options().priority(10),
            options().backoff(Backoff::fixed(366 * day)),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains("out of bounds"), "{error}");
        }
    }
}
