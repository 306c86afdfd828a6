//! Batches: jobs of one queue whose common end has others follow.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::backend::Backend as _;
use super::enqueue::{Ids, LOOKS_MAX, Ready, home_of, keeps_changing};
use super::model::{BATCH_MAX, BatchState, Callbacks, JobId};
use super::options::Job;
use super::{Jobs, NewJob, chain};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;

/// How often one who waits looks: first, and last.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_LAST: Duration = Duration::from_secs(1);

/// A batch being put together. All its jobs are in one partition of one queue, a million at most.
#[must_use = "a batch is enqueued by submit()"]
pub struct Batch {
    jobs: Jobs,
    name: String,
    queue: Option<String>,
    id: Result<JobId>,
    /// All that it enqueues is named at once, and keeps its name: it may be submitted again.
    ids: Ids,
    members: Vec<NewJob>,
    success: Vec<NewJob>,
    complete: Vec<NewJob>,
}

/// A batch that was enqueued. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BatchHandle {
    jobs: Jobs,
    queue: QueueName,
    id: JobId,
}

impl Batch {
    pub(super) fn new(jobs: Jobs, name: &str) -> Self {
        let mut ids = Ids::new(jobs.engine.clock.wall());
        let (id, name) = (ids.draw(), name.to_owned());
        let (members, success, complete) = (Vec::new(), Vec::new(), Vec::new());
        Self { jobs, name, queue: None, id, ids, members, success, complete }
    }

    /// What it is called; drawn unless said. It becomes another, as [`NewJob::id`] does. Said before its jobs are added, it
    /// names them too: the same batch, put together again elsewhere, is submitted once.
    pub fn id(mut self, id: JobId) -> Self {
        let id = id.given();
        self.ids = Ids::after(self.ids.now, id);
        self.id = Ok(id);
        self
    }

    /// The queue of its jobs; that of their type unless said. What follows has queues of its own.
    pub fn queue(mut self, queue: &str) -> Self {
        self.queue = Some(queue.to_owned());
        self
    }

    /// One more job.
    ///
    /// # Errors
    /// `Rejected` for what cannot be written as JSON.
    // It may fail, which no sum does.
    #[allow(clippy::should_implement_trait)]
    pub fn add<J: Job + Serialize>(self, job: &J) -> Result<Self> {
        self.add_raw(NewJob::of(job)?)
    }

    /// More jobs. They are taken into memory.
    ///
    /// # Errors
    /// `Rejected` for what cannot be written as JSON.
    pub fn add_all<'a, J: Job + Serialize + 'a>(
        mut self,
        jobs: impl IntoIterator<Item = &'a J>,
    ) -> Result<Self> {
        for job in jobs {
            self = self.add_raw(NewJob::of(job)?)?;
        }
        Ok(self)
    }

    /// One more job that is no type of this program's.
    ///
    /// # Errors
    /// `Misconfigured` where the system has no random bytes.
    pub fn add_raw(mut self, mut job: NewJob) -> Result<Self> {
        chain::name(&mut job, &mut self.ids)?;
        self.members.push(job);
        Ok(self)
    }

    /// Enqueues this once all its jobs are done. Where one is dead, and done later after all, then; where one was
    /// cancelled or removed, never.
    ///
    /// # Errors
    /// `Rejected` for what cannot be written as JSON.
    pub fn on_success<J: Job + Serialize>(self, job: &J) -> Result<Self> {
        self.on_success_raw(NewJob::of(job)?)
    }

    /// The same, of a job that is no type of this program's.
    ///
    /// # Errors
    /// `Misconfigured` where the system has no random bytes.
    pub fn on_success_raw(mut self, mut job: NewJob) -> Result<Self> {
        chain::name(&mut job, &mut self.ids)?;
        self.success.push(job);
        Ok(self)
    }

    /// Enqueues this once all its jobs have ended, however.
    ///
    /// # Errors
    /// `Rejected` for what cannot be written as JSON.
    pub fn on_complete<J: Job + Serialize>(self, job: &J) -> Result<Self> {
        self.on_complete_raw(NewJob::of(job)?)
    }

    /// The same, of a job that is no type of this program's.
    ///
    /// # Errors
    /// `Misconfigured` where the system has no random bytes.
    pub fn on_complete_raw(mut self, mut job: NewJob) -> Result<Self> {
        chain::name(&mut job, &mut self.ids)?;
        self.complete.push(job);
        Ok(self)
    }

    /// Enqueues its jobs. After an error the same again does no harm: what is there already is left as it is. Some of what has
    /// ended meanwhile, and was not to be kept, may be run again.
    ///
    /// *Cancellation*: some of its jobs may be enqueued, and run; what is to follow does not, until it is submitted again.
    ///
    /// # Errors
    /// `Rejected` for jobs of several queues, or with keys or unique names where the queue has several partitions; else
    /// as [`Jobs::enqueue`].
    pub async fn submit(&self) -> Result<BatchHandle> {
        let (engine, scope) = (&self.jobs.engine, &self.jobs.scope);
        let (queue, id) = (self.queue_name()?, self.id.clone()?);
        // Before anything is there.
        self.check()?;
        for _ in 0..LOOKS_MAX {
            let all = engine.all(scope, &queue).await?;
            let count = u16::try_from(all.len()).unwrap_or(u16::MAX);
            let id = id.in_partition(home_of(id, count));
            let Some(keys) = all.get(usize::from(id.partition())) else { break };
            if count > 1 && self.members.iter().any(|job| job.key.is_some() || job.unique.is_some())
            {
                return Err(Error::rejected(format!(
                    "a batch of jobs with keys or unique names: expected a queue of one partition, and {} has {count}",
                    queue.as_str()
                )));
            }
            let ready = self.ready(&queue, id)?;
            let state = engine.backend.open_batch(keys, id, &self.callbacks()?).await?;
            if state.is_sealed {
                // All of it was enqueued, and the reply was lost: those that have ended are not to be run again.
                return Ok(BatchHandle::new(self.jobs.clone(), queue, id));
            }
            self.jobs.write_all(ready).await?;
            // The number of partitions may have turned out to be another meanwhile.
            if engine.all(scope, &queue).await?.len() == all.len() {
                return self.seal(keys, queue, id).await;
            }
        }
        Err(keeps_changing(&queue))
    }

    async fn seal(&self, keys: &QueueKeys, queue: QueueName, id: JobId) -> Result<BatchHandle> {
        match self.jobs.engine.backend.seal_batch(keys, id).await? {
            Some(_) => Ok(BatchHandle::new(self.jobs.clone(), queue, id)),
            None => Err(Error::new(
                ErrorKind::Unavailable { maybe_applied: true },
                format!("batch {id} was forgotten while its jobs were enqueued: submit it again"),
            )),
        }
    }

    fn queue_name(&self) -> Result<QueueName> {
        // An empty one is where what follows it is.
        let all = self.members.iter().chain(&self.success).chain(&self.complete);
        let queue = self.queue.as_ref().or_else(|| all.map(|job| &job.queue).next());
        let Some(queue) = queue else {
            return Err(Error::rejected("a batch that nothing is in, and nothing follows"));
        };
        if self.queue.is_none() && self.members.iter().any(|job| job.queue != *queue) {
            return Err(Error::rejected("a batch of jobs of several queues: expected one"));
        }
        QueueName::new(queue)
    }

    fn check(&self) -> Result<()> {
        if self.members.len() as u64 > BATCH_MAX {
            return Err(Error::rejected(format!(
                "{} jobs in a batch: expected at most {BATCH_MAX}",
                self.members.len()
            )));
        }
        Ok(())
    }

    fn ready(&self, queue: &QueueName, id: JobId) -> Result<Vec<Ready>> {
        let (len_max, mut ids) = (self.jobs.engine.value_len_max, self.ids.clone());
        let prepare = |job: &NewJob| {
            let job = NewJob { queue: queue.as_str().to_owned(), ..job.clone() };
            self.jobs.prepare(job, len_max, Some(id), &mut ids)
        };
        self.members.iter().map(prepare).collect()
    }

    fn callbacks(&self) -> Result<Callbacks> {
        let (len_max, mut ids) = (self.jobs.engine.value_len_max, self.ids.clone());
        let mut pack = |jobs: &[NewJob]| {
            let link = |job: &NewJob| chain::link(vec![job.clone()], len_max, &mut ids);
            let linked = jobs.iter().map(link).collect::<Result<Vec<_>>>()?;
            chain::pack(linked.into_iter().flatten())
        };
        Ok(Callbacks { success: pack(&self.success)?, complete: pack(&self.complete)? })
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("jobs", &self.members.len())
            .finish_non_exhaustive()
    }
}

impl BatchHandle {
    pub(super) fn new(jobs: Jobs, queue: QueueName, id: JobId) -> Self {
        Self { jobs, queue, id }
    }

    /// What it is called.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// The queue that its jobs are in.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.queue.as_str()
    }

    /// How it stands; nothing where it is not there any more: 90 days after it changed last.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn look(&self) -> Result<Option<BatchState>> {
        let keys = self.jobs.scope.job(&self.queue, self.id.partition());
        self.jobs.engine.backend.look_at_batch(&keys, self.id).await
    }

    /// Waits until all its jobs have ended, this long at most, and says how it stands then.
    ///
    /// *Cancellation*: its jobs go on.
    ///
    /// *When Redis is down*: the first look fails; a wait that has begun waits on.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn wait(&self, at_most: Duration) -> Result<Option<BatchState>> {
        let clock = &self.jobs.engine.clock;
        let (until, mut pause, mut last) = (clock.now().after(at_most), LOOK_FIRST, None);
        loop {
            match self.look().await {
                Ok(Some(state)) if !state.is_sealed || state.left > 0 => last = Some(state),
                Ok(ended) => return Ok(ended),
                Err(error) if last.is_some() && error.is_retryable() => {}
                Err(error) => return Err(error),
            }
            if clock.now() >= until {
                return Ok(last);
            }
            tokio::select! {
                () = clock.sleep_until(until) => {}
                () = tokio::time::sleep(pause) => {}
            }
            pause = (2 * pause).min(LOOK_LAST);
        }
    }
}
