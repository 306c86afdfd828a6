//! A job that was enqueued, for whoever wants to know what becomes of it.

mod hearing;

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::Jobs;
use super::backend::Backend as _;
use super::look::{JobInfo, done_before, info_of, reason_of};
use super::model::{Cancelled, DELAY_MAX, Found, JobId, JobState, Told, millis};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;

pub(in crate::job) use self::hearing::Listeners;

/// How often one who waits looks at least: what was told may have been lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A job that was enqueued. Dropping it does nothing to the job. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JobHandle {
    jobs: Jobs,
    queue: QueueName,
    id: JobId,
}

/// What a wait for a job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited<R> {
    /// It is done, with this result. Where its handler has none, `()` and [`Option`] stand for it.
    Done(R),
    /// It was given up, for this reason.
    Dead(String),
    /// It was cancelled or removed; or it is done, and its result was not kept.
    Gone,
    /// It has not ended in this time.
    Pending,
}

impl JobHandle {
    pub(super) fn new(jobs: Jobs, queue: QueueName, id: JobId) -> Self {
        Self { jobs, queue, id }
    }

    /// What it is called.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The queue that it is in.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.queue.as_str()
    }

    /// Waits until the job has ended, this long at most. Its result is kept for a minute where someone waits for it, or
    /// its handler has one; for longer by [`Enqueue::retain`](super::Enqueue::retain).
    ///
    /// *Cancellation*: the job goes on.
    ///
    /// *When Redis is down*: the first look fails; a wait that has begun waits on.
    ///
    /// # Errors
    /// `Rejected` where its result is no `R`; `Unavailable` or `Timeout` when Redis is down.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn wait<R: DeserializeOwned>(&self, at_most: Duration) -> Result<Waited<R>> {
        Ok(match self.ended(at_most).await? {
            // Where there is no result, what could be one may be meant.
            Waited::Done(none) if none.is_empty() => {
                serde_json::from_slice(b"null").map_or(Waited::Gone, Waited::Done)
            }
            Waited::Done(result) => Waited::Done(read(&result)?),
            Waited::Dead(reason) => Waited::Dead(reason),
            Waited::Gone => Waited::Gone,
            Waited::Pending => Waited::Pending,
        })
    }

    /// What is known of the job; nothing where it has ended and nothing of it was kept. What is done and was not retained
    /// is known by its name, its kind and how long it took.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn find(&self) -> Result<Option<JobInfo>> {
        let (backend, keys) = (&self.jobs.engine.backend, self.keys());
        match backend.find(&keys, self.id).await? {
            Some(found) => Ok(Some(info_of(&self.queue, found))),
            None => {
                let done = done_before(backend, &keys, self.id).await?;
                Ok(done.map(|done| JobInfo::of_done(&self.queue, done)))
            }
        }
    }

    /// Cancels the job, if it has not ended. One that runs is told; what it says does not count.
    ///
    /// *Cancellation*: it is cancelled, or not. The same again does no harm.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn cancel(&self) -> Result<Cancelled> {
        self.jobs.engine.backend.cancel(&self.keys(), self.id).await
    }

    fn keys(&self) -> QueueKeys {
        self.jobs.scope.job(&self.queue, self.id.partition())
    }

    /// Its result as JSON, which is empty where there is none.
    async fn ended(&self, at_most: Duration) -> Result<Waited<Bytes>> {
        let (engine, keys) = (&self.jobs.engine, self.keys());
        let until = engine.clock.now().after(at_most);
        // Before the first look: what ends after it is heard of.
        let mut waiting = engine.listeners.enlist(&engine.backend, &keys, self.id);
        let mut has_looked = false;
        loop {
            let left = until.since(engine.clock.now());
            match self.look(&keys, left).await {
                Ok(Some(ended)) => return Ok(ended),
                Ok(None) => has_looked = true,
                Err(error) if has_looked && error.is_retryable() => {}
                Err(error) => return Err(error),
            }
            if left.is_zero() {
                return Ok(Waited::Pending);
            }
            let told = tokio::select! {
                told = waiting.next() => told,
                () = engine.clock.sleep_until(until) => None,
                () = tokio::time::sleep(LOOK_EVERY) => None,
            };
            match told {
                Some(Told::Done(Some(result))) => return Ok(Waited::Done(result)),
                Some(Told::Gone) => return Ok(Waited::Gone),
                // What was too long to be told, and why it is dead, is in the store.
                Some(Told::Done(None) | Told::Dead) | None => {}
            }
        }
    }

    /// How it has ended; nothing where it has not.
    async fn look(&self, keys: &QueueKeys, left: Duration) -> Result<Option<Waited<Bytes>>> {
        let backend = &self.jobs.engine.backend;
        let found = match left.is_zero() {
            true => backend.find(keys, self.id).await?,
            false => {
                let for_ms = millis(left.min(DELAY_MAX)).max(1);
                backend.find_awaiting(keys, self.id, for_ms).await?
            }
        };
        match found {
            Some(Found { ended: Some(ended), .. }) => Ok(Some(Waited::Done(ended.result))),
            Some(found) if found.state == JobState::Dead => {
                Ok(Some(Waited::Dead(reason_of(&found))))
            }
            Some(_) => Ok(None),
            None => Ok(Some(match done_before(backend, keys, self.id).await? {
                Some(_) => Waited::Done(Bytes::new()),
                None => Waited::Gone,
            })),
        }
    }
}

/// What it is not is not told: the result is not for logs.
fn read<R: DeserializeOwned>(result: &[u8]) -> Result<R> {
    serde_json::from_slice(result).map_err(|error| {
        Error::rejected(format!(
            "the result of a job cannot be read as what is waited for: {:?} error at byte {}",
            error.classify(),
            error.column()
        ))
    })
}
