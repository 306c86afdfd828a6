//! Recurring jobs that are defined.

use futures_util::future::try_join_all;

use super::{RecurringJob, check_name, conflict, job_of};
use crate::job::backend::Backend as _;
use crate::job::enqueue::{Ready, keeps_changing};
use crate::job::model::{Definition, Kept};
use crate::job::{Enqueued, Jobs};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;

/// How often a change is tried while others change the same recurring job.
const TRIES_MAX: u32 = 10;

/// A recurring job that is defined, by its name; see [`Jobs::recurring_at`].
#[derive(Clone, Debug)]
pub struct RecurringAt {
    jobs: Jobs,
    name: String,
}

/// A recurring job where it was found, and the store's time.
struct FoundAt {
    keys: QueueKeys,
    kept: Kept,
    now_ms: u64,
}

impl Jobs {
    /// The recurring jobs of this tenant, by name. What cannot be read is passed over. For people: it asks each queue.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn recurring_list(&self) -> Result<Vec<RecurringJob>> {
        let names = self.engine.backend.recurring_names(&self.scope.job_recurring()).await?;
        let mut queues: Vec<String> = names.into_iter().map(|(_, queue)| queue).collect();
        queues.sort_unstable();
        queues.dedup();
        let mut list = Vec::new();
        for queue in queues {
            for FoundAt { keys, kept, now_ms } in self.defined_in(&queue).await? {
                list.extend(RecurringJob::read(&keys, kept, now_ms).ok());
            }
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// A recurring job, by its name, whether it is there or not.
    #[must_use]
    pub fn recurring_at(&self, name: &str) -> RecurringAt {
        RecurringAt { jobs: self.clone(), name: name.to_owned() }
    }

    /// All that are defined in a queue.
    async fn defined_in(&self, queue: &str) -> Result<Vec<FoundAt>> {
        let backend = &self.engine.backend;
        let mut found = Vec::new();
        for keys in self.partitions_of(queue).await? {
            let (all, now_ms) = backend.recurring(&keys).await?;
            found.extend(all.into_iter().map(|kept| FoundAt { keys: keys.clone(), kept, now_ms }));
        }
        Ok(found)
    }

    /// Removes it in a queue. Whether it was there.
    pub(super) async fn drop_in(&self, queue: &str, name: &str) -> Result<bool> {
        let (all, backend) = (self.partitions_of(queue).await?, &self.engine.backend);
        let dropped = try_join_all(all.iter().map(|keys| backend.drop_recurring(keys, name)));
        Ok(dropped.await?.contains(&true))
    }

    async fn partitions_of(&self, queue: &str) -> Result<Vec<QueueKeys>> {
        let queue = QueueName::new(queue)?;
        let all = self.engine.partitions_there(&self.scope, &queue).await?;
        Ok(all.map(|all| all.to_vec()).unwrap_or_default())
    }

    pub(super) async fn put(
        &self,
        keys: &QueueKeys,
        name: &str,
        definition: &Definition,
        expected: Option<u64>,
    ) -> Result<Option<Kept>> {
        // What is paused has no ticks: it begins anew with each pause, and after it.
        let paused = if definition.is_paused { " paused" } else { "" };
        let schedule = format!("{}{paused}", definition.schedule_text());
        let backend = &self.engine.backend;
        backend.put_recurring(keys, name, &definition.write(), &schedule, expected).await
    }
}

impl RecurringAt {
    /// As it is defined; nothing where it is not.
    ///
    /// # Errors
    /// `Corrupt` where it cannot be read; `Unavailable` or `Timeout` when Redis is down.
    pub async fn look(&self) -> Result<Option<RecurringJob>> {
        match self.find().await? {
            Some(FoundAt { keys, kept, now_ms }) => {
                RecurringJob::read(&keys, kept, now_ms).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Removes it. The jobs that it has made stay. Whether it was there.
    ///
    /// *Cancellation*: it is removed or not. The same again does no harm.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn drop(&self) -> Result<bool> {
        let (engine, names) = (&self.jobs.engine, self.jobs.scope.job_recurring());
        let Some(queue) = self.queue().await? else { return Ok(false) };
        // Where it was is forgotten last, so that what is broken off can be done again.
        let was_there = self.jobs.drop_in(&queue, &self.name).await?;
        engine.backend.note_recurring(&names, &self.name, None).await?;
        Ok(was_there)
    }

    /// Makes a job now, beside those of its ticks; nothing where it is not defined. Whether the job of the last tick has
    /// ended does not matter.
    ///
    /// *Cancellation*: a job is made or not.
    ///
    /// # Errors
    /// `Corrupt` where it cannot be read, else as [`Jobs::enqueue`].
    pub async fn fire_now(&self) -> Result<Option<Enqueued>> {
        let Some(FoundAt { keys, kept, .. }) = self.find().await? else { return Ok(None) };
        let (engine, scope) = (&self.jobs.engine, &self.jobs.scope);
        let definition = Definition::read(&kept.definition)?;
        let now_ms = engine.clock.wall().0;
        let job = job_of(&definition, &self.name, now_ms, keys.partition())?;
        let all = engine.all(scope, keys.queue()).await?;
        let count = u16::try_from(all.len()).unwrap_or(u16::MAX);
        let ready = Ready::of(keys.queue().clone(), job);
        let wrote = self.jobs.write(&keys, count, &[ready]).await?;
        match wrote.and_then(|wrote| wrote.into_iter().next()) {
            Some(enqueued) => Ok(Some(enqueued)),
            None => Err(keeps_changing(keys.queue())),
        }
    }

    /// Has it make no jobs from now on. Whether it is there.
    ///
    /// *Cancellation*: it is paused or not.
    ///
    /// # Errors
    /// `Conflict` where others keep changing it; `Corrupt` where it cannot be read; `Unavailable` or `Timeout` when Redis
    /// is down.
    pub async fn pause(&self) -> Result<bool> {
        self.set_paused(true).await
    }

    /// Has it make jobs again, with the next tick. Whether it is there.
    ///
    /// *Cancellation*: it is paused or not.
    ///
    /// # Errors
    /// As [`RecurringAt::pause`].
    pub async fn resume(&self) -> Result<bool> {
        self.set_paused(false).await
    }

    async fn set_paused(&self, is_paused: bool) -> Result<bool> {
        for _ in 0..TRIES_MAX {
            let Some(FoundAt { keys, kept, .. }) = self.find().await? else { return Ok(false) };
            let mut definition = Definition::read(&kept.definition)?;
            if definition.is_paused == is_paused {
                return Ok(true);
            }
            definition.is_paused = is_paused;
            let put = self.jobs.put(&keys, &self.name, &definition, Some(kept.revision)).await?;
            if put.is_some() {
                return Ok(true);
            }
        }
        Err(conflict(&self.name))
    }

    async fn queue(&self) -> Result<Option<String>> {
        check_name(&self.name)?;
        let (backend, names) = (&self.jobs.engine.backend, self.jobs.scope.job_recurring());
        let names = backend.recurring_names(&names).await?;
        Ok(names.into_iter().find(|(name, _)| *name == self.name).map(|(_, queue)| queue))
    }

    async fn find(&self) -> Result<Option<FoundAt>> {
        let Some(queue) = self.queue().await? else { return Ok(None) };
        let all = self.jobs.defined_in(&queue).await?;
        Ok(all.into_iter().find(|found| found.kept.name == self.name))
    }
}
