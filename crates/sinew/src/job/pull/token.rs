//! What shows that a job is the caller's.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::job::model::{BY_HAND, JobId, cut};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::Code;
use crate::kernel::name::QueueName;

/// How much of it is shown: it tells pulls apart, and proves nothing.
const SHOWN_LEN: usize = BY_HAND.len() + 6;

/// What shows that a job is one's own. Its text may be sent and stored, and is read back with [`str::parse`]. Whoever has
/// it can end the job, so the [`fmt::Debug`] output is without it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JobToken {
    pub(super) queue: QueueName,
    pub(super) lane: Arc<str>,
    pub(super) id: JobId,
    pub(super) fence: u64,
}

impl JobToken {
    /// The job.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The queue that it is in.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.queue.as_str()
    }

    /// # Errors
    /// `Rejected` for the token of another queue.
    pub(super) fn check(&self, queue: &QueueName) -> Result<()> {
        match self.queue == *queue {
            true => Ok(()),
            false => Err(Error::rejected(format!(
                "the token of a job in queue {}: expected one in {}",
                self.queue.as_str(),
                queue.as_str()
            ))),
        }
    }
}

/// A lane's name that no one can guess.
///
/// # Errors
/// `Misconfigured` where the system has no random bytes.
pub(super) fn new_lane() -> Result<Arc<str>> {
    Ok(format!("{BY_HAND}{}", Code::random()?).into())
}

impl fmt::Display for JobToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, lane, id, fence } = self;
        write!(f, "{}:{lane}:{id}:{fence}", queue.as_str())
    }
}

impl fmt::Debug for JobToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobToken({}:{}..)", self.queue.as_str(), self.id)
    }
}

impl FromStr for JobToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let mut parts = text.splitn(4, ':');
            let queue = QueueName::new(parts.next()?).ok()?;
            let lane = parts.next()?;
            lane.strip_prefix(BY_HAND)?.parse::<Code>().ok()?;
            let (id, fence) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Self { queue, lane: lane.into(), id, fence })
        };
        read().ok_or_else(|| {
            Error::rejected("not the token of a job: expected the one that a reserve answered")
        })
    }
}

/// A lane's name as others may see it.
pub(in crate::job) fn shown(lane: &str) -> String {
    match lane.strip_prefix(BY_HAND) {
        Some(_) => format!("{}…", cut(lane, SHOWN_LEN)),
        None => lane.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::clock::UnixMillis;

    #[test]
    fn a_token_is_read_as_it_is_written_and_is_not_logged() {
        let token = JobToken {
            queue: QueueName::new("mail.x_y").unwrap(),
            lane: new_lane().unwrap(),
            id: JobId::new(UnixMillis(5), 3).unwrap(),
            fence: u64::MAX,
        };
        assert_eq!(token.to_string().parse::<JobToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains(&*token.lane));
        assert_eq!(shown(&token.lane).chars().count(), SHOWN_LEN + 1);
        assert_eq!(shown("host:7"), "host:7");
        let bare = token.to_string().replace("pull-", "");
        for bad in ["", "mail", "mail:pull-x:1:1", bare.as_str()] {
            assert!(bad.parse::<JobToken>().is_err(), "{bad}");
        }
    }
}
