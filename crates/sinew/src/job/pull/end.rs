//! What becomes of a job that was taken by hand.

use std::time::Duration;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{JobToken, Puller};
use crate::job::backend::Backend as _;
use crate::job::chain;
use crate::job::model::{
    Becomes, Body, End, Found, Held, JobId, Note, Policy, RESULT_LEN_MAX, RETAIN_AWAITED, Ran,
    Record, Said, Settle, Turn, becomes, fingerprint, millis,
};
use crate::job::worker::took_field;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::QueueKeys;

/// What becomes of a job that was taken by hand.
#[derive(Clone, PartialEq, Eq)]
pub enum PullEnd {
    /// It is done, with its result as JSON where it has one, of up to 1 MiB.
    Done(Option<Bytes>),
    /// It has failed: it is tried again after a pause, or is dead after its last attempt.
    Failed {
        /// Why, in words; 512 bytes of it are kept.
        error: String,
        /// How long the pause is; growing from 1 s to 1 h unless said.
        after: Option<Duration>,
    },
    /// It is put off for so long, which is no failure.
    Snooze(Duration),
    /// It cannot be done, for this reason, and is dead.
    Dead(String),
    /// It waits again, first of all, as if it had not been taken.
    Back,
}

/// A result is not for logs.
impl std::fmt::Debug for PullEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::Failed { .. } => "Failed",
            Self::Snooze(_) => "Snooze",
            Self::Dead(_) => "Dead",
            Self::Back => "Back",
        })
    }
}

impl PullEnd {
    fn said(self) -> Said {
        match self {
            Self::Done(result) => {
                Said::Done(result.filter(|json| !json.is_empty() && json != "null"))
            }
            Self::Failed { error, after: None } => Said::Failed(error),
            Self::Failed { error, after: Some(after) } => Said::FailedFor(after, error),
            Self::Snooze(delay) => Said::Snooze(delay),
            Self::Dead(reason) => Said::Dead(reason),
            Self::Back => Said::Back,
        }
    }

    /// # Errors
    /// `Rejected` for a result that is too long, or no JSON.
    fn check(&self) -> Result<()> {
        let Self::Done(Some(result)) = self else { return Ok(()) };
        if result.len() > RESULT_LEN_MAX {
            return Err(Error::rejected(format!(
                "a result of {} bytes: expected at most {RESULT_LEN_MAX}",
                result.len()
            )));
        }
        match result.is_empty() || serde_json::from_slice::<IgnoredAny>(result).is_ok() {
            true => Ok(()),
            false => Err(Error::rejected("a result that is not JSON")),
        }
    }
}

impl Puller {
    /// Tells what becomes of a job. Whether that counts: not where it is no longer the caller's, or was told before.
    ///
    /// *Cancellation*: it is told, or not.
    ///
    /// # Errors
    /// `Rejected` for a result that is too long or no JSON, or the token of another queue; `Unavailable` or `Timeout` when
    /// Redis is down. The same call again does no harm, and says whether it is still the caller's; where the error is one of
    /// [`maybe_applied`](crate::Error::maybe_applied), it is not either if this one was heard.
    pub async fn finish(&self, token: &JobToken, end: PullEnd) -> Result<bool> {
        let queue = self.name()?;
        token.check(&queue)?;
        end.check()?;
        let backend = &self.jobs.engine.backend;
        let keys = self.jobs.scope.job(&queue, token.id.partition());
        let found = backend.find(&keys, token.id).await?;
        let (end, counts) = match &found {
            Some(found) => self.end_of(found, token, end.said()),
            // It was cancelled, perhaps: then its place is free only once this is told.
            None => (End::Back, Vec::new()),
        };
        let settles = [Settle { id: token.id, fence: token.fence, end }];
        let counts: Vec<(String, u64)> = counts.into_iter().map(|name| (name, 1)).collect();
        let turn = Turn {
            lane: &token.lane,
            request: 0,
            want: 0,
            takes_suspect: false,
            settles: &settles,
            counts: &counts,
        };
        match backend.turn(&keys, &turn).await? {
            Held::Kept(took) => {
                if took.is_owing {
                    self.pay(&keys).await;
                }
                let counts = !took.lost.contains(&token.id) && !took.stop.contains(&token.id);
                Ok(found.is_some() && counts)
            }
            Held::Fallen => Ok(false),
        }
    }

    /// Enqueues what follows on what has ended: there may be no worker to do it. What fails, whoever looks after the queue
    /// comes to later.
    async fn pay(&self, keys: &QueueKeys) {
        let backend = &self.jobs.engine.backend;
        let Ok(owed) = backend.owed(keys).await else { return };
        let mut paid = Vec::new();
        for one in &owed {
            if chain::pay(&self.jobs, one).await.is_ok() {
                paid.push(one.member.clone());
            }
        }
        if !paid.is_empty() {
            // Enqueued twice, they are there once.
            let _ = backend.paid(keys, &paid).await;
        }
    }

    /// By what the job says of itself, else by what is usual; and as what it is counted.
    fn end_of(&self, found: &Found, token: &JobToken, said: Said) -> (End, Vec<String>) {
        let read = Record::read(found.record.clone())
            .and_then(|record| record.body().map(|body| (body, Note::read(&record.note))));
        let Ok((Body { kind, attempts, retain_ms, .. }, note)) = read else {
            return (unreadable(token.id, token.fence).end, Vec::new());
        };
        let now_ms = self.jobs.engine.clock.wall().0;
        // A fence is when its job was taken, in microseconds of the store's clock.
        let took_ms = now_ms.saturating_sub(token.fence / 1_000);
        let ran = Ran { now_ms, took_ms, by: self.label.clone(), draw: fastrand::f64() };
        let policy = Policy::default();
        let policy = Policy { attempts: attempts.unwrap_or(policy.attempts), ..policy };
        let (end, outcome) = match becomes(said, note, &policy, &ran) {
            Becomes::Done { result } => {
                // Who waits may come after the end.
                let least_ms = result.as_ref().map_or(0, |_| millis(RETAIN_AWAITED));
                let line = format!("{} {kind} {took_ms} {}\n", token.id, self.label);
                let retain_ms = retain_ms.unwrap_or_default().max(least_ms);
                let result = result.unwrap_or_default();
                (End::Done { retain_ms, line: line.into(), result }, "done")
            }
            Becomes::Later { delay, note, is_failure } => {
                let outcome = if is_failure { "failed" } else { "snoozed" };
                (End::Later { delay_ms: millis(delay), note, is_failure }, outcome)
            }
            Becomes::Dead { reason, note } => (dead(&kind, &reason, note), "dead"),
            Becomes::Back => return (End::Back, Vec::new()),
        };
        (end, vec![format!("k:{kind}:{outcome}"), took_field(&kind, took_ms)])
    }
}

/// The end of what cannot be read.
pub(super) fn unreadable(id: JobId, fence: u64) -> Settle {
    let reason = "what is kept of it cannot be read";
    Settle { id, fence, end: dead("", reason, Bytes::new()) }
}

fn dead(kind: &str, reason: &str, note: Bytes) -> End {
    End::Dead { fingerprint: fingerprint(kind, reason), sample: format!("{kind}\0{reason}"), note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_json_and_bounded() {
        let done = |json: &'static str| PullEnd::Done(Some(Bytes::from_static(json.as_bytes())));
        assert!(done("{\"a\":1}").check().is_ok() && PullEnd::Done(None).check().is_ok());
        assert!(done("a").check().is_err());
        let long = PullEnd::Done(Some(vec![b'1'; RESULT_LEN_MAX + 1].into()));
        assert!(long.check().is_err());
        assert_eq!(done("null").said(), Said::Done(None));
        assert!(!format!("{:?}", done("\"secret\"")).contains("secret"));
    }
}
