//! Why a handler did not do its job.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::model::Said;
use crate::kernel::words;

/// What a handler says that did not do its job. Any error becomes [`JobError::Retry`] by `?`, which is why this is none
/// itself.
#[derive(Debug)]
pub enum JobError {
    /// It failed: it is tried again after its backoff, or is dead after its last attempt.
    Retry(Box<dyn StdError + Send + Sync>),
    /// The same, after a pause that the handler knows.
    RetryIn {
        /// Up to 365 days.
        after: Duration,
        /// What is noted.
        error: Box<dyn StdError + Send + Sync>,
    },
    /// It is put off: no failure, and 10,000 times at most.
    Snooze(Duration),
    /// It cannot be done, and is not tried again.
    Dead {
        /// In words without ids, so that those with the same trouble are seen together.
        reason: String,
    },
}

impl<E: StdError + Send + Sync + 'static> From<E> for JobError {
    fn from(error: E) -> Self {
        Self::Retry(Box::new(error))
    }
}

impl JobError {
    pub(super) fn said(self) -> Said {
        match self {
            Self::Retry(error) => Said::Failed(words::told(&*error)),
            Self::RetryIn { after, error } => Said::FailedFor(after, words::told(&*error)),
            Self::Snooze(delay) => Said::Snooze(delay),
            Self::Dead { reason } => Said::Dead(reason),
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(error) | Self::RetryIn { error, .. } => fmt::Display::fmt(error, f),
            Self::Snooze(delay) => write!(f, "put off for {delay:?}"),
            Self::Dead { reason } => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u32, JobError> {
        Ok(text.parse::<u32>()?)
    }

    #[test]
    fn any_error_is_one_to_be_tried_again() {
        let error = parse("seven").unwrap_err();
        assert_eq!(error.said(), Said::Failed("invalid digit found in string".to_owned()));
        let error = JobError::Retry("too busy".into());
        assert_eq!(
            (error.to_string(), error.said()),
            ("too busy".to_owned(), Said::Failed("too busy".to_owned()))
        );
    }
}
