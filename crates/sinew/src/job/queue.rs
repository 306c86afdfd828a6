//! Queues, for whoever looks after them.

use std::time::Duration;

use futures_util::future::try_join_all;

use super::backend::Backend as _;
use super::engine::check_divided;
use super::handle::JobHandle;
use super::look::{PageOf, audits, done_last, periods, shelves_of, sum};
use super::model::{
    Audited, Cancelled, Declaring, Grain, JobId, JobState, LaneInfo, QueueLook, check_partitions,
    in_words, millis,
};
use super::pull::shown;
use super::{BatchHandle, DeadJobs, DoneJob, JobInfo, JobPage, Jobs, Period, Tender};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;

/// How many jobs that are done are told at once at most.
const DONE_MAX: usize = 1_000;
/// How many minutes or days are told at once at most.
const PERIODS_MAX: usize = 2_000;
const LEN_MAX: u64 = 1_000_000_000;
const LIMIT_MAX: u64 = 1_000_000;
const RATE_PER_MAX: Duration = Duration::from_secs(86_400);

/// A queue of jobs; see [`Jobs::queue`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QueueHandle {
    jobs: Jobs,
    queue: String,
}

/// What a queue is declared with. What is not given stays as it is, and 0 removes a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "it is given to a queue's declare()"]
pub struct QueueSettings {
    declaring: Declaring,
}

impl QueueSettings {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many partitions it has, for ever: 1 to 32, each in a slot of its own. 1 unless said.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.declaring.partitions = Some(partitions);
        self
    }

    /// How many unfinished jobs a partition has at most: more are refused. 50,000,000 unless said.
    pub fn len_max(mut self, jobs: u64) -> Self {
        self.declaring.len_max = Some(jobs);
        self
    }

    /// How many jobs run at a time, everywhere. Of several partitions each has its part, so it is as many as
    /// those at least.
    pub fn global(mut self, jobs: u64) -> Self {
        self.declaring.global = Some(jobs);
        self
    }

    /// How many jobs of one key run at a time, everywhere.
    pub fn per_key(mut self, jobs: u64) -> Self {
        self.declaring.per_key = Some(jobs);
        self
    }

    /// How many jobs start in any window of this length, up to a day: never more. Of several partitions each has its part,
    /// so it is as many as those at least.
    pub fn rate(mut self, jobs: u64, per: Duration) -> Self {
        self.declaring.rate = Some((jobs, millis(per)));
        self
    }

    /// Looks whether they are within bounds, as [`QueueHandle::declare`] does.
    ///
    /// # Errors
    /// `Rejected` for what is out of bounds.
    pub fn check(&self) -> Result<()> {
        let Declaring { partitions, len_max, global, per_key, rate } = self.declaring;
        partitions.map_or(Ok(()), check_partitions)?;
        if let Some(len_max) = len_max.filter(|len_max| !(1..=LEN_MAX).contains(len_max)) {
            return Err(Error::rejected(format!(
                "a queue of {len_max} jobs a partition is out of bounds: expected 1 to {LEN_MAX}"
            )));
        }
        let limits = [global, per_key, rate.map(|(jobs, _)| jobs)];
        if let Some(limit) = limits.into_iter().flatten().find(|limit| *limit > LIMIT_MAX) {
            return Err(Error::rejected(format!(
                "a limit of {limit} jobs is out of bounds: expected at most {LIMIT_MAX}, or 0 for none"
            )));
        }
        if let Some((_, per_ms)) = rate
            && !(1..=millis(RATE_PER_MAX)).contains(&per_ms)
        {
            return Err(Error::rejected(format!(
                "a rate per {} is out of bounds: expected up to a day",
                in_words(Duration::from_millis(per_ms))
            )));
        }
        check_divided(self.declaring, partitions.unwrap_or(1))
    }
}

impl Jobs {
    /// The queues of this tenant, by name; 10,000 at most.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn queues(&self) -> Result<Vec<String>> {
        self.engine.backend.queues(&self.scope.job_queues()).await
    }
}

impl QueueHandle {
    pub(super) fn new(jobs: Jobs, queue: &str) -> Self {
        Self { jobs, queue: queue.to_owned() }
    }

    /// Declares the queue, or finds that it is there; then the limits that are given become its own.
    ///
    /// *Cancellation*: some of its partitions may be declared; declare it again.
    ///
    /// # Errors
    /// `Misconfigured` where it has another number of partitions; `Rejected` for a bad name or setting; `Unavailable` or
    /// `Timeout` when Redis is down.
    pub async fn declare(&self, settings: QueueSettings) -> Result<QueueLook> {
        settings.check()?;
        let (engine, queue) = (&self.jobs.engine, self.name()?);
        let look = engine.declare(&self.jobs.scope, &queue, settings.declaring).await?;
        match settings.declaring.partitions {
            Some(partitions) if partitions != look.partitions => {
                let has = match look.partitions {
                    1 => "1 partition".to_owned(),
                    many => format!("{many} partitions"),
                };
                Err(Error::misconfigured(format!(
                    "queue {} has {has}, which cannot be changed, since limits and unique names rest on it: expected as many, or none said",
                    queue.as_str()
                )))
            }
            _ => Ok(look),
        }
    }

    /// Has nobody take its jobs from now on. What runs goes on, and jobs may be enqueued.
    ///
    /// *Cancellation*: some of its partitions may be paused.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn pause(&self) -> Result<()> {
        self.set_paused(true).await
    }

    /// Has everybody take its jobs again.
    ///
    /// *Cancellation*: some of its partitions may be paused still.
    ///
    /// # Errors
    /// As [`QueueHandle::pause`].
    pub async fn resume(&self) -> Result<()> {
        self.set_paused(false).await
    }

    async fn set_paused(&self, is_paused: bool) -> Result<()> {
        let engine = &self.jobs.engine;
        // Also one that nobody has used yet: it is to begin so.
        let all = engine.all(&self.jobs.scope, &self.name()?).await?;
        try_join_all(all.iter().map(|keys| engine.backend.pause(keys, is_paused))).await?;
        Ok(())
    }

    /// The queue in numbers, over all partitions; nothing where it is not there.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn look(&self) -> Result<Option<QueueLook>> {
        let (all, backend) = (self.all_there().await?, &self.jobs.engine.backend);
        let looks = try_join_all(all.iter().map(|keys| backend.look(keys))).await?;
        Ok(sum(looks.into_iter().flatten().collect()))
    }

    /// Cancels a job, if it has not ended. One that runs is told; what it says does not count.
    ///
    /// *Cancellation*: it is cancelled, or not. The same again does no harm.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn cancel(&self, id: JobId) -> Result<Cancelled> {
        self.job(id)?.cancel().await
    }

    /// What is known of a job; see [`JobHandle::find`].
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn find(&self, id: JobId) -> Result<Option<JobInfo>> {
        self.job(id)?.find().await
    }

    /// A job of this queue, whether it is there or not.
    ///
    /// # Errors
    /// `Rejected` for a bad name.
    pub fn job(&self, id: JobId) -> Result<JobHandle> {
        Ok(JobHandle::new(self.jobs.clone(), self.name()?, id))
    }

    /// A batch of this queue, whether it is there or not.
    ///
    /// # Errors
    /// `Rejected` for a bad name.
    pub fn batch(&self, id: JobId) -> Result<BatchHandle> {
        Ok(BatchHandle::new(self.jobs.clone(), self.name()?, id))
    }

    /// Jobs of a state, so many after a cursor, 100 at most; of one partition after the other. Waiting ones come in the
    /// order in which they are taken, and of those with a key only the next of each; dead ones come newest first, and the
    /// others oldest first. There may be fewer than was asked for, also where it goes on.
    ///
    /// # Errors
    /// `Rejected` for a bad name, or what is no cursor; `Unavailable` or `Timeout` when Redis is down.
    pub async fn list(
        &self,
        state: JobState,
        after: Option<&str>,
        count: usize,
    ) -> Result<JobPage> {
        let (all, shelves) = (self.all_there().await?, shelves_of(state));
        let store = &self.jobs.engine.backend;
        PageOf { store, all: &all, shelves: &shelves, is_meant: |_: &JobInfo| true }
            .read(after, count)
            .await
    }

    /// The jobs that were done last, newest first, 1,000 at most. Each partition knows of about 10,000, for 7 days.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn done(&self, count: usize) -> Result<Vec<DoneJob>> {
        let (all, count) = (self.all_there().await?, count.min(DONE_MAX));
        let store = &self.jobs.engine.backend;
        let parts = all.iter().map(|keys| done_last(store, keys, count));
        let mut done: Vec<DoneJob> = try_join_all(parts).await?.into_iter().flatten().collect();
        done.sort_by_key(|job| (std::cmp::Reverse(job.at), job.id));
        // What ends while they are read moves the others on: some come twice.
        done.dedup_by_key(|job| job.id);
        done.truncate(count);
        Ok(done)
    }

    /// Who takes its jobs: the lanes of workers, and pulls.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn lanes(&self) -> Result<Vec<LaneInfo>> {
        let (all, backend) = (self.all_there().await?, &self.jobs.engine.backend);
        let lanes = try_join_all(all.iter().map(|keys| backend.lanes(keys))).await?;
        let lanes = lanes.into_iter().flatten();
        Ok(lanes.map(|info| LaneInfo { lane: shown(&info.lane), ..info }).collect())
    }

    /// What was counted in the newest minutes or days in which anything was, so many at most, oldest first.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn stats(&self, grain: Grain, count: usize) -> Result<Vec<Period>> {
        let (all, count) = (self.all_there().await?, count.min(PERIODS_MAX));
        let backend = &self.jobs.engine.backend;
        let counted = all.iter().map(|keys| backend.counted(keys, grain, count));
        Ok(periods(try_join_all(counted).await?, count))
    }

    /// Looks for what nobody would come to, and puts it right. Workers do so each minute.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn audit(&self) -> Result<Audited> {
        let (all, backend) = (self.all_there().await?, &self.jobs.engine.backend);
        Ok(audits(try_join_all(all.iter().map(|keys| backend.audit(keys, 0))).await?))
    }

    /// Does for the queue what workers do beside running jobs, until it is dropped: has recurring jobs make theirs, enqueues
    /// what follows on what has ended, and audits. For queues whose jobs are all pulled: where there is a
    /// [`Worker`](super::Worker), it does so itself. Any number of them do no harm.
    ///
    /// *When Redis is down*: it waits.
    ///
    /// # Errors
    /// `Rejected` for a bad name.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn tend(&self) -> Result<Tender> {
        Tender::start(&self.jobs, &self.queue)
    }

    /// Its dead jobs.
    #[must_use]
    pub fn dead(&self) -> DeadJobs {
        DeadJobs::new(self.jobs.clone(), &self.queue)
    }

    fn name(&self) -> Result<QueueName> {
        QueueName::new(&self.queue)
    }

    /// None where there is no such queue.
    async fn all_there(&self) -> Result<Vec<QueueKeys>> {
        let engine = &self.jobs.engine;
        let all = engine.partitions_there(&self.jobs.scope, &self.name()?).await?;
        Ok(all.map(|all| all.to_vec()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_bounded() {
        let new = QueueSettings::new;
        let bad = [
            new().partitions(33),
            new().len_max(0),
            new().global(LIMIT_MAX + 1),
            new().rate(1, Duration::ZERO),
            new().rate(1, 2 * RATE_PER_MAX),
        ];
        assert!(bad.iter().all(|settings| settings.check().is_err()));
        let good = new().partitions(32).global(0).per_key(3).rate(0, Duration::from_secs(1));
        assert!(good.check().is_ok());
    }
}
