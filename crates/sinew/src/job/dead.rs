//! Dead jobs: those that were given up, with why.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::future::try_join_all;

use super::backend::Backend as _;
use super::look::{PageOf, at_ms, groups, info_of};
use super::model::{After, DeadGroup, JobId, PAGE_MAX, REDRIVE_MAX, Redriven, Shelf};
use super::{JobInfo, JobPage, Jobs};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;
use crate::kernel::name::QueueName;

/// Jobs by the partitions that they are in.
type Parted = Vec<(QueueKeys, Vec<JobId>)>;

/// The dead jobs of a queue, or those of a filter; see [`QueueHandle::dead`](super::QueueHandle::dead).
#[derive(Clone, Debug)]
pub struct DeadJobs {
    jobs: Jobs,
    queue: String,
    filter: DeadFilter,
}

/// Which dead jobs are meant. All that is said has to be so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "it is given to the dead jobs of a queue"]
pub struct DeadFilter {
    kind: Option<String>,
    fingerprint: Option<String>,
    older_than: Option<Duration>,
}

impl DeadFilter {
    /// All of them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of this kind.
    pub fn kind(mut self, kind: &str) -> Self {
        self.kind = Some(kind.to_owned());
        self
    }

    /// Those with this trouble; see [`DeadGroup::fingerprint`].
    pub fn fingerprint(mut self, fingerprint: &str) -> Self {
        self.fingerprint = Some(fingerprint.to_owned());
        self
    }

    /// Those that died at least so long ago.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    fn shelf(&self) -> Shelf {
        self.fingerprint.clone().map_or(Shelf::Dead, Shelf::DeadOf)
    }

    fn is_meant(&self, job: &JobInfo, now: SystemTime) -> bool {
        let is_kind = self.kind.as_ref().is_none_or(|kind| *kind == job.kind);
        let age = job.at.and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
        is_kind && self.older_than.is_none_or(|older_than| age >= older_than)
    }
}

impl DeadJobs {
    pub(super) fn new(jobs: Jobs, queue: &str) -> Self {
        Self { jobs, queue: queue.to_owned(), filter: DeadFilter::default() }
    }

    /// Those of a filter alone.
    #[must_use]
    pub fn filter(mut self, filter: DeadFilter) -> Self {
        self.filter = filter;
        self
    }

    /// What the trouble is, whatever the filter: the troubles first that most have.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn groups(&self) -> Result<Vec<DeadGroup>> {
        let (all, backend) = (self.all().await?, &self.jobs.engine.backend);
        Ok(groups(try_join_all(all.iter().map(|keys| backend.dead_groups(keys))).await?))
    }

    /// So many of them, 100 at most, those first that died last; of one partition after the other. With a filter there may
    /// be fewer than was asked for, also where it goes on.
    ///
    /// # Errors
    /// `Rejected` for a bad name, or what is no cursor; `Unavailable` or `Timeout` when Redis is down.
    pub async fn page(&self, after: Option<&str>, count: usize) -> Result<JobPage> {
        let all = self.all().await?;
        let now = self.now(&all).await?;
        let is_meant = |job: &JobInfo| self.filter.is_meant(job, now);
        let (store, shelves) = (&self.jobs.engine.backend, [self.filter.shelf()]);
        PageOf { store, all: &all, shelves: &shelves, is_meant }.read(after, count).await
    }

    /// Has all of them wait again that are dead now, with all their attempts.
    ///
    /// *Cancellation*: some may wait again; the others are still here.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down, and then some may wait again.
    pub async fn retry_all(&self) -> Result<Redriven> {
        let (all, mut redriven) = (self.all().await?, Redriven::default());
        let now = self.now(&all).await?;
        for keys in &all {
            let mut after = Some(After::default());
            while let Some(at) = after {
                let (ids, next) = self.more(keys, &at, now).await?;
                for ids in ids.chunks(REDRIVE_MAX) {
                    add(&mut redriven, self.jobs.engine.backend.redrive(keys, ids).await?);
                }
                after = next;
            }
        }
        Ok(redriven)
    }

    /// Removes all of them for good that are dead now, and says how many.
    ///
    /// *Cancellation*: some may be gone.
    ///
    /// # Errors
    /// As [`DeadJobs::retry_all`].
    pub async fn drop_all(&self) -> Result<u64> {
        let (all, mut dropped) = (self.all().await?, 0);
        let now = self.now(&all).await?;
        for keys in &all {
            let mut after = Some(After::default());
            while let Some(at) = after {
                let (ids, next) = self.more(keys, &at, now).await?;
                for ids in ids.chunks(REDRIVE_MAX) {
                    dropped += self.jobs.engine.backend.drop_dead(keys, ids).await?;
                }
                after = next;
            }
        }
        Ok(dropped)
    }

    /// Has these wait again, whatever the filter, with all their attempts.
    ///
    /// *Cancellation*: some may wait again. The same again does no harm.
    ///
    /// # Errors
    /// As [`DeadJobs::retry_all`].
    pub async fn retry(&self, ids: &[JobId]) -> Result<Redriven> {
        let (of, unknown) = self.by_partition(ids).await?;
        let mut redriven = Redriven { gone: unknown, ..Redriven::default() };
        for (keys, ids) in of {
            for ids in ids.chunks(REDRIVE_MAX) {
                add(&mut redriven, self.jobs.engine.backend.redrive(&keys, ids).await?);
            }
        }
        Ok(redriven)
    }

    /// Removes these for good, whatever the filter, and says how many.
    ///
    /// # Errors
    /// As [`DeadJobs::retry_all`].
    pub async fn drop(&self, ids: &[JobId]) -> Result<u64> {
        let mut dropped = 0;
        for (keys, ids) in self.by_partition(ids).await?.0 {
            for ids in ids.chunks(REDRIVE_MAX) {
                dropped += self.jobs.engine.backend.drop_dead(&keys, ids).await?;
            }
        }
        Ok(dropped)
    }

    /// None where there is no such queue.
    async fn all(&self) -> Result<Vec<QueueKeys>> {
        let (engine, queue) = (&self.jobs.engine, QueueName::new(&self.queue)?);
        let all = engine.partitions_there(&self.jobs.scope, &queue).await?;
        Ok(all.map(|all| all.to_vec()).unwrap_or_default())
    }

    /// The store's time, where that matters.
    async fn now(&self, all: &[QueueKeys]) -> Result<SystemTime> {
        let engine = &self.jobs.engine;
        let look = match (self.filter.older_than, all.first()) {
            (Some(_), Some(keys)) => engine.backend.look(keys).await?,
            _ => None,
        };
        Ok(at_ms(look.map_or_else(|| engine.clock.wall().0, |look| look.now_ms)))
    }

    /// The next of them, and where to go on. The newest come first: what dies meanwhile is left, or there would be no end.
    async fn more(
        &self,
        keys: &QueueKeys,
        after: &After,
        now: SystemTime,
    ) -> Result<(Vec<JobId>, Option<After>)> {
        let shelf = self.filter.shelf();
        let page = self.jobs.engine.backend.page(keys, &shelf, after, PAGE_MAX).await?;
        let infos = page.jobs.into_iter().map(|found| info_of(keys.queue(), found));
        let meant = infos.filter(|info| self.filter.is_meant(info, now));
        Ok((meant.map(|info| info.id).collect(), page.next))
    }

    /// By the partitions that they are in, and how many are in none.
    async fn by_partition(&self, ids: &[JobId]) -> Result<(Parted, u64)> {
        let mut of: BTreeMap<u16, Vec<JobId>> = BTreeMap::new();
        for id in ids {
            of.entry(id.partition()).or_default().push(*id);
        }
        let all = self.all().await?;
        let known: Parted = all
            .into_iter()
            .filter_map(|keys| of.remove(&keys.partition()).map(|ids| (keys, ids)))
            .collect();
        let unknown = of.values().map(|ids| ids.len() as u64).sum();
        Ok((known, unknown))
    }
}

fn add(whole: &mut Redriven, part: Redriven) {
    whole.retried += part.retried;
    whole.duplicates += part.duplicates;
    whole.gone += part.gone;
}
