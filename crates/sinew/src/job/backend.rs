//! The atomic steps that jobs need from a store, and what waits for news.

use std::collections::BTreeMap;

use super::memory::{MemoryBackend, MemoryEndings, MemoryWaker};
use super::model::{
    After, Audited, BatchState, Callbacks, Cancelled, Counted, DeadGroup, Declaring, Fired, Firing,
    Found, Grain, Held, JobId, Joined, Joining, Kept, LaneInfo, Noted, Outgoing, Owed, Page,
    QueueLook, Redriven, Renewed, Shelf, Telling, Told, Took, Turn, Written,
};
#[cfg(feature = "redis")]
use super::redis::{RedisBackend, RedisEndings, RedisWaker};
use crate::kernel::backend::backend;
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;

/// The stores that there are.
pub(super) enum Store {
    Memory(MemoryBackend),
    #[cfg(feature = "redis")]
    Redis(RedisBackend),
}

backend! {
    /// Makes a partition of a queue of so many, or finds how it was made. What is given becomes its own, but for the
    /// number of partitions: the answer has that which it has.
    async fn declare(&self, keys: &QueueKeys, declaring: Declaring) -> Result<QueueLook>;

    /// Writes jobs, all or none, [`super::model::ENQUEUE_MAX`] at most. A job that is there already is left as it is, so
    /// that it may be sent again.
    async fn enqueue(&self, keys: &QueueKeys, partitions: u16, jobs: Vec<Outgoing>) -> Result<Written>;

    /// Begins a lane. May be sent again. Passes the breaker.
    async fn join(&self, keys: &QueueKeys, joining: Joining<'_>) -> Result<Joined>;

    /// Tells of ends, moves what is due, takes back what a dead lane had, and takes jobs. The same request answers the
    /// same jobs again; one of number 0 is not sent again, since no one remembers it. Passes the breaker.
    async fn turn(&self, keys: &QueueKeys, turn: &Turn<'_>) -> Result<Held<Took>>;

    /// Renews the lease of a lane, and never makes one. Those that it is thought to hold, each with its fence, are to stop where
    /// it does not. Passes the breaker.
    async fn renew(&self, keys: &QueueKeys, lane: &str, lease_ms: u64, held: &[(JobId, u64)]) -> Result<Held<Renewed>>;

    /// Ends a lane: what it still has waits again, as if it had not been taken. Passes the breaker.
    async fn leave(&self, keys: &QueueKeys, lane: &str) -> Result<()>;

    /// Keeps what a handler tells, if the job is still its lane's.
    async fn tell(&self, keys: &QueueKeys, telling: Telling<'_>) -> Result<Noted>;

    /// Cancels a job that has not ended. Passes the breaker.
    async fn cancel(&self, keys: &QueueKeys, id: JobId) -> Result<Cancelled>;

    /// Has nobody take jobs, or everybody again. Passes the breaker.
    async fn pause(&self, keys: &QueueKeys, is_paused: bool) -> Result<()>;

    /// A job that is there.
    async fn find(&self, keys: &QueueKeys, id: JobId) -> Result<Option<Found>>;

    /// The same, but one that runs is told as one that waits; where it has not ended, its end is told for so long, and its result
    /// is kept for a while.
    async fn find_awaiting(&self, keys: &QueueKeys, id: JobId, for_ms: u64) -> Result<Option<Found>>;

    /// Jobs of a shelf, [`super::model::PAGE_MAX`] at most. The oldest first, of the dead the newest.
    async fn page(&self, keys: &QueueKeys, shelf: &Shelf, after: &After, count: usize) -> Result<Page>;

    /// What is known of jobs that are done, the newest turn first: lines, as they were told, each turn with its moment.
    async fn past(&self, keys: &QueueKeys, from: usize, turns: usize) -> Result<Vec<(u64, String)>>;

    /// When a job was done that was not kept, and its line, as far as that is remembered.
    async fn done(&self, keys: &QueueKeys, id: JobId) -> Result<Option<(u64, String)>>;

    /// Dead jobs by what is the trouble, those with most first.
    async fn dead_groups(&self, keys: &QueueKeys) -> Result<Vec<DeadGroup>>;

    /// Has dead jobs wait again, with all their attempts; [`super::model::REDRIVE_MAX`] at most. May be sent again: then
    /// the others are gone. Passes the breaker.
    async fn redrive(&self, keys: &QueueKeys, dead: &[JobId]) -> Result<Redriven>;

    /// Removes dead jobs, and says how many. Passes the breaker.
    async fn drop_dead(&self, keys: &QueueKeys, dead: &[JobId]) -> Result<u64>;

    /// Makes a batch, or finds it.
    async fn open_batch(&self, keys: &QueueKeys, batch: JobId, callbacks: &Callbacks) -> Result<BatchState>;

    /// Says that all jobs of a batch are there: from now on it may end.
    async fn seal_batch(&self, keys: &QueueKeys, batch: JobId) -> Result<Option<BatchState>>;

    /// How a batch stands.
    async fn look_at_batch(&self, keys: &QueueKeys, batch: JobId) -> Result<Option<BatchState>>;

    /// What is to be enqueued elsewhere. It is no one else's for [`super::model::OUTBOX_LEASE`].
    async fn owed(&self, keys: &QueueKeys) -> Result<Vec<Owed>>;

    /// That these were enqueued. Passes the breaker.
    async fn paid(&self, keys: &QueueKeys, members: &[String]) -> Result<()>;

    /// Defines a recurring job, of this revision, or whichever where none is given; 0 is none there. What it is then;
    /// nothing where another revision is there, or no room. With another schedule, it begins anew.
    async fn put_recurring(
        &self,
        keys: &QueueKeys,
        name: &str,
        definition: &[u8],
        schedule: &str,
        expected: Option<u64>
    ) -> Result<Option<Kept>>;

    /// The recurring jobs of a partition, by name, and the store's time.
    async fn recurring(&self, keys: &QueueKeys) -> Result<(Vec<Kept>, u64)>;

    /// Removes a recurring job. Whether it was there.
    async fn drop_recurring(&self, keys: &QueueKeys, name: &str) -> Result<bool>;

    /// Has a tick make its job, once, whoever asks, and however often.
    async fn fire(&self, keys: &QueueKeys, firing: &Firing<'_>) -> Result<Fired>;

    /// The numbers of a partition; nothing where it was not declared.
    async fn look(&self, keys: &QueueKeys) -> Result<Option<QueueLook>>;

    /// Who takes jobs.
    async fn lanes(&self, keys: &QueueKeys) -> Result<Vec<LaneInfo>>;

    /// The newest counters, oldest first, so many at most.
    async fn counted(&self, keys: &QueueKeys, grain: Grain, count: usize) -> Result<Vec<Counted>>;

    /// Looks for what nobody would come to, and puts it right; nothing where someone has done so within so long. Passes the
    /// breaker.
    async fn audit(&self, keys: &QueueKeys, unless_within_ms: u64) -> Result<Audited>;

    /// What the store removes when it is full, where that may be jobs.
    async fn eviction(&self, keys: &QueueKeys) -> Result<Option<String>>;

    /// Notes that there is a queue. Whether there was room for it.
    async fn note_queue(&self, queues_key: &str, queue: &str) -> Result<bool>;

    /// Queues, by name.
    async fn queues(&self, queues_key: &str) -> Result<Vec<String>>;

    /// Notes in which queue a recurring job is, or in none; answers where it was.
    async fn note_recurring(&self, recurring_key: &str, name: &str, queue: Option<&str>) -> Result<Option<String>>;

    /// In which queue each recurring job is.
    async fn recurring_names(&self, recurring_key: &str) -> Result<Vec<(String, String)>>;
}

/// Waits for jobs, and takes none.
pub(super) enum Waker {
    Memory(MemoryWaker),
    #[cfg(feature = "redis")]
    Redis(RedisWaker),
}

/// Hears of the ends of jobs that someone waits for.
pub(super) enum Endings {
    Memory(MemoryEndings),
    #[cfg(feature = "redis")]
    Redis(RedisEndings),
}

/// What [`Endings`] hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// They hear from now on, for the first time or again: what ended before may have been missed.
    Listening,
    Of(JobId, Told),
}

impl Store {
    /// Partitions, parted into those that can be waited for together.
    pub(super) fn together(&self, all: &[QueueKeys]) -> Vec<Vec<QueueKeys>> {
        let mut together: BTreeMap<u16, Vec<QueueKeys>> = BTreeMap::new();
        for keys in all {
            let number = match self {
                Self::Memory(_) => 0,
                #[cfg(feature = "redis")]
                Self::Redis(backend) => backend.together(keys),
            };
            together.entry(number).or_default().push(keys.clone());
        }
        together.into_values().collect()
    }

    /// For partitions that can be waited for together. Opens its connection with the first call.
    pub(super) fn waker(&self, keys: &[QueueKeys]) -> Waker {
        match self {
            Self::Memory(backend) => Waker::Memory(backend.waker(keys)),
            #[cfg(feature = "redis")]
            Self::Redis(backend) => Waker::Redis(backend.waker(keys)),
        }
    }

    /// Of one partition.
    pub(super) fn endings(&self, keys: &QueueKeys) -> Endings {
        match self {
            Self::Memory(backend) => Endings::Memory(backend.endings(keys)),
            #[cfg(feature = "redis")]
            Self::Redis(backend) => Endings::Redis(backend.endings(keys)),
        }
    }
}

impl Waker {
    /// Takes a token, and says of which of the partitions; nothing after [`super::model::BLOCK`].
    ///
    /// *Cancellation*: a token may be lost. Whoever drops this looks for jobs himself.
    pub(super) async fn next(&mut self) -> Result<Option<usize>> {
        match self {
            Self::Memory(waker) => waker.next().await,
            #[cfg(feature = "redis")]
            Self::Redis(waker) => waker.next().await,
        }
    }
}

impl Endings {
    /// What is heard next; nothing once the store is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Ending> {
        match self {
            Self::Memory(endings) => endings.next().await,
            #[cfg(feature = "redis")]
            Self::Redis(endings) => endings.next().await,
        }
    }
}
