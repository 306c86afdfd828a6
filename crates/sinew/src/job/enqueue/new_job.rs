//! A job to be enqueued, and what it may be.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::write::Ids;
use crate::job::model::{
    DELAY_MAX, JOB_KEY_LEN_MAX, JobId, PRIORITY_MAX, RETAIN_MAX, check_attempts, check_delay,
    check_timeout, in_words, millis,
};
use crate::job::options::Job;
use crate::job::{Unique, chain};
use crate::kernel::clock::UnixMillis;
use crate::kernel::error::{Error, Result};
use crate::kernel::name::{KindName, QueueName};

const TRACEPARENT_LEN_MAX: usize = 128;

/// A job to be enqueued, with all that may be said of it. It can be stored, and enqueued later.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NewJob {
    /// What it is called; drawn unless said. Its last character says in which partition of its queue the job is, hence what
    /// is behind its time becomes other characters, the same each time: the handle has the one that counts. Said again, as it
    /// was said before, it enqueues nothing as long as the job has not ended, is dead, or is kept: [`NewJob::retain`] is for
    /// how long a call may be repeated after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<JobId>,
    /// The queue.
    pub queue: String,
    /// Its kind: which handler it is for.
    pub kind: String,
    /// What the handler is given: JSON, for those of this crate.
    #[serde(with = "crate::kernel::stored_bytes")]
    pub payload: Bytes,
    /// 0 to 9, 9 is first; 5 unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Jobs with one key have a limit of their own, and take turns with those of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A name that one job has at a time, of those with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// It is to run so much later: up to 365 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// It is to run at this time, by the store's clock. Not beside a delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<SystemTime>,
    /// How often its handler is called at most: 1 to 1,000. As its worker says, unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// For how long its handler may run: 1 ms to 30 days. As its worker says, unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// For how long it is kept once it is done, with its payload, log and result: up to 365 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain: Option<Duration>,
    /// The span that enqueues it, of W3C's Trace Context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What is enqueued once it is done, each once the one before it is: a chain of 16 jobs at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<NewJob>,
}

impl NewJob {
    /// One of this kind, with this payload.
    #[must_use]
    pub fn new(kind: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { kind: kind.into(), payload: payload.into(), ..Self::default() }
    }

    /// A typed job, for its queue and with its options.
    ///
    /// # Errors
    /// `Rejected` for what cannot be written as JSON.
    pub fn of<J: Job + Serialize>(job: &J) -> Result<Self> {
        let payload = serde_json::to_vec(job)
            .map_err(|error| Error::rejected("a job that is not JSON").with_source(error))?;
        let options = J::options();
        Ok(Self {
            queue: J::QUEUE.to_owned(),
            priority: options.priority,
            retain: options.retain,
            ..Self::new(J::NAME, payload)
        })
    }

    /// The same job, to be kept elsewhere and enqueued later, however often: it has its id, by which it is there once, as has
    /// what comes after it, and a time in place of its delay.
    ///
    /// # Errors
    /// `Rejected`, naming what may not be so; but for how long it is, of which the deployment decides. `Misconfigured` where the
    /// system has no random bytes.
    pub fn kept(mut self, now: SystemTime) -> Result<Self> {
        let now_ms = UnixMillis(ms_of(now));
        self.check(usize::MAX, now_ms)?;
        self.unique.as_ref().map(|unique| unique.claim(self.key.as_deref())).transpose()?;
        chain::name(&mut self, &mut Ids::new(now_ms))?;
        if let Some(delay) = self.delay.take() {
            self.at = now.checked_add(delay);
        }
        Ok(self)
    }

    /// # Errors
    /// `Rejected`, naming what may not be so.
    pub(in crate::job) fn check(
        &self,
        payload_len_max: usize,
        now: UnixMillis,
    ) -> Result<QueueName> {
        KindName::new(&self.kind)?;
        check_key(self.key.as_deref())?;
        check_priority(self.priority)?;
        self.attempts.map_or(Ok(()), check_attempts)?;
        self.timeout.map_or(Ok(()), check_timeout)?;
        self.delay.map_or(Ok(()), check_delay)?;
        if self.payload.len() > payload_len_max {
            return Err(Error::rejected(format!(
                "the payload of a job has {} bytes: expected at most {payload_len_max}",
                self.payload.len()
            )));
        }
        if self.delay.is_some() && self.at.is_some() {
            return Err(Error::rejected("a job with a delay and a time: expected one of them"));
        }
        if self.at.is_some_and(|at| ms_of(at) > now.0.saturating_add(millis(DELAY_MAX))) {
            return Err(Error::rejected("a job for a time in more than 365 days"));
        }
        if let Some(retain) = self.retain.filter(|retain| *retain > RETAIN_MAX) {
            return Err(Error::rejected(format!(
                "a job kept for {} is out of bounds: expected up to 365 days",
                in_words(retain)
            )));
        }
        let traceparent = self.traceparent.as_deref().unwrap_or_default();
        if traceparent.len() > TRACEPARENT_LEN_MAX {
            return Err(Error::rejected(format!(
                "a traceparent of {} bytes: expected at most {TRACEPARENT_LEN_MAX}",
                traceparent.len()
            )));
        }
        QueueName::new(&self.queue)
    }
}

/// What its handler is given is not for logs.
impl fmt::Debug for NewJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewJob")
            .field("id", &self.id)
            .field("queue", &self.queue)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// # Errors
/// `Rejected` for a key out of bounds.
pub(in crate::job) fn check_key(key: Option<&str>) -> Result<()> {
    match key {
        Some(key) if !(1..=JOB_KEY_LEN_MAX).contains(&key.len()) => Err(Error::rejected(format!(
            "a key of {} bytes: expected 1 to {JOB_KEY_LEN_MAX}",
            key.len()
        ))),
        _ => Ok(()),
    }
}

/// # Errors
/// `Rejected` for a priority out of bounds.
pub(in crate::job) fn check_priority(priority: Option<u8>) -> Result<()> {
    match priority {
        Some(priority) if priority > PRIORITY_MAX => Err(Error::rejected(format!(
            "priority {priority} is out of bounds: expected 0 to {PRIORITY_MAX}, of which {PRIORITY_MAX} is first"
        ))),
        _ => Ok(()),
    }
}

pub(super) fn ms_of(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_316_265_410);

    fn job() -> NewJob {
        NewJob { queue: "mail".to_owned(), ..NewJob::new("email.send", "{}") }
    }

    #[test]
    fn what_may_not_be_is_rejected_by_name() {
        let long = Some("x".repeat(JOB_KEY_LEN_MAX + 1));
        let far = UNIX_EPOCH + Duration::from_millis(NOW.0) + 2 * DELAY_MAX;
        let bad = [
            (NewJob { kind: String::new(), ..job() }, "kind of job"),
            (NewJob { queue: "a b".to_owned(), ..job() }, "invalid queue"),
            (NewJob { payload: "123".into(), ..job() }, "3 bytes"),
            (NewJob { priority: Some(10), ..job() }, "priority 10"),
            (NewJob { key: Some(String::new()), ..job() }, "a key of 0 bytes"),
            (NewJob { key: long, ..job() }, "a key of 129 bytes"),
            (NewJob { attempts: Some(0), ..job() }, "0 attempts"),
            (NewJob { timeout: Some(Duration::ZERO), ..job() }, "a time limit"),
            (NewJob { delay: Some(2 * DELAY_MAX), ..job() }, "a delay"),
            (NewJob { at: Some(far), ..job() }, "365 days"),
            (NewJob { retain: Some(2 * RETAIN_MAX), ..job() }, "kept for"),
            (NewJob { at: Some(UNIX_EPOCH), delay: Some(Duration::ZERO), ..job() }, "one of them"),
            (NewJob { traceparent: Some("x".repeat(200)), ..job() }, "traceparent"),
        ];
        for (job, words) in bad {
            let error = job.check(2, NOW).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(job().check(2, NOW).unwrap().as_str(), "mail");
    }

    #[test]
    fn a_job_is_the_same_after_it_was_stored_elsewhere() {
        let payloads = ["{}".into(), Bytes::from_static(b"\xff\0"), Bytes::new()];
        for payload in payloads {
            let next = vec![NewJob { delay: Some(Duration::from_millis(1_500)), ..job() }];
            let unique = Some(Unique::by("a"));
            let job = NewJob { payload, unique, next, at: Some(UNIX_EPOCH), ..job() };
            let stored = serde_json::to_vec(&job).unwrap();
            assert_eq!(serde_json::from_slice::<NewJob>(&stored).unwrap(), job);
        }
        assert!(!format!("{:?}", NewJob::new("a", "secret")).contains("secret"));
    }

    #[test]
    fn a_job_that_is_kept_has_its_id_and_its_time() {
        let now = UNIX_EPOCH + Duration::from_millis(NOW.0);
        let delay = Some(Duration::from_secs(60));
        let kept = NewJob { delay, next: vec![job()], ..job() }.kept(now).unwrap();
        assert_eq!((kept.delay, kept.at), (None, Some(now + Duration::from_secs(60))));
        assert_eq!(kept.id.unwrap().made_ms(), NOW.0);
        assert!(kept.next[0].id > kept.id);
        assert_eq!(kept.clone().kept(now).unwrap(), kept);
        let unnamed = NewJob { unique: Some(Unique::by("")), ..job() };
        for bad in [NewJob::new("email.send", "{}"), unnamed] {
            assert!(bad.kept(now).is_err());
        }
    }
}
