//! Enqueueing one job.

mod new_job;
mod write;

use std::fmt;
use std::future::IntoFuture;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::handle::JobHandle;
use super::model::JobId;
use super::options::Job;
use super::{Jobs, Unique};
use crate::kernel::error::Result;

pub use self::new_job::NewJob;
pub(super) use self::new_job::{check_key, check_priority};
pub(super) use self::write::{Ids, LOOKS_MAX, Ready, home_of, keeps_changing};

/// What came of a job that was enqueued.
#[derive(Clone, Debug)]
pub enum Enqueued {
    /// It is there; also where an earlier call of the same id, whose reply was lost, has enqueued it.
    New(JobHandle),
    /// It is not: this one has its unique name.
    Duplicate(JobHandle),
    /// It is there in the place of another, which will not run.
    Replaced {
        /// The one that was enqueued.
        new: JobHandle,
        /// The one that it replaces.
        old: JobId,
    },
}

impl Enqueued {
    /// The job that is there, whichever it is.
    #[must_use]
    pub fn handle(&self) -> JobHandle {
        match self {
            Self::New(handle) | Self::Duplicate(handle) | Self::Replaced { new: handle, .. } => {
                handle.clone()
            }
        }
    }

    /// The same, as it is called.
    #[must_use]
    pub fn id(&self) -> JobId {
        match self {
            Self::New(handle) | Self::Duplicate(handle) | Self::Replaced { new: handle, .. } => {
                handle.id()
            }
        }
    }
}

/// A job on its way; see [`Jobs::enqueue`].
#[must_use = "a job is enqueued when this is awaited"]
pub struct Enqueue {
    jobs: Jobs,
    job: Result<NewJob>,
}

impl Enqueue {
    pub(super) fn new(jobs: Jobs, job: Result<NewJob>) -> Self {
        Self { jobs, job }
    }

    fn set(mut self, set: impl FnOnce(&mut NewJob)) -> Self {
        if let Ok(job) = &mut self.job {
            set(job);
        }
        self
    }

    /// The queue; that of its type unless said.
    pub fn queue(self, queue: &str) -> Self {
        self.set(|job| queue.clone_into(&mut job.queue))
    }

    /// What it is called; see [`NewJob::id`].
    pub fn id(self, id: JobId) -> Self {
        self.set(|job| job.id = Some(id))
    }

    /// It is to run so much later: up to 365 days.
    pub fn delay(self, delay: Duration) -> Self {
        self.set(|job| (job.delay, job.at) = (Some(delay), None))
    }

    /// It is to run at this time, by the store's clock: at once where it is over, and in 365 days at most.
    pub fn at(self, at: SystemTime) -> Self {
        self.set(|job| (job.delay, job.at) = (None, Some(at)))
    }

    /// 0 to 9; 9 is first. What is lower waits for as long as there is any higher.
    pub fn priority(self, priority: u8) -> Self {
        self.set(|job| job.priority = Some(priority))
    }

    /// Jobs with one key have a limit of their own, where the queue has one, and take turns with those of others.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.set(|job| job.key = Some(key.into()))
    }

    /// A name that one job has at a time.
    pub fn unique(self, unique: Unique) -> Self {
        self.set(|job| job.unique = Some(unique))
    }

    /// How often its handler is called at most: 1 to 1,000.
    pub fn attempts(self, attempts: u32) -> Self {
        self.set(|job| job.attempts = Some(attempts))
    }

    /// For how long its handler may run: 1 ms to 30 days.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|job| job.timeout = Some(timeout))
    }

    /// For how long it is kept once it is done, with its payload, log and result: up to 365 days, and of the newest
    /// 100,000 of a partition.
    pub fn retain(self, retain: Duration) -> Self {
        self.set(|job| job.retain = Some(retain))
    }

    /// The span that enqueues it, of W3C's Trace Context.
    pub fn traceparent(self, traceparent: &str) -> Self {
        self.set(|job| job.traceparent = Some(traceparent.to_owned()))
    }

    /// Once it is done, this one is enqueued, in whichever queue; again, and that one follows. 16 jobs at most. Where another
    /// has the unique name of one by then, that one is not enqueued, nor is what comes after it.
    pub fn then<J: Job + Serialize>(self, next: &J) -> Self {
        self.follow(NewJob::of(next))
    }

    /// The same, of a job that is no type of this program's.
    pub fn then_raw(self, next: NewJob) -> Self {
        self.follow(Ok(next))
    }

    /// The same, once it was looked at whether it may be enqueued so, without asking the store: only that knows whether there
    /// is room.
    ///
    /// # Errors
    /// `Rejected` for what may not be so.
    pub fn checked(self) -> Result<Self> {
        let Self { jobs, job } = self;
        let job = job?;
        let mut ids = Ids::new(jobs.engine.clock.wall());
        jobs.prepare(job.clone(), jobs.engine.value_len_max, None, &mut ids)?;
        Ok(Self { jobs, job: Ok(job) })
    }

    fn follow(mut self, next: Result<NewJob>) -> Self {
        match (&mut self.job, next) {
            (Ok(job), Ok(next)) => job.next.push(next),
            (Ok(_), Err(error)) => self.job = Err(error),
            (Err(_), _) => {}
        }
        self
    }
}

impl IntoFuture for Enqueue {
    type Output = Result<Enqueued>;
    type IntoFuture = BoxFuture<'static, Result<Enqueued>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { jobs, job } = self;
        Box::pin(async move { jobs.send(job?).await })
    }
}

impl fmt::Debug for Enqueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueue").field("job", &self.job).finish_non_exhaustive()
    }
}
