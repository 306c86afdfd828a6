//! The steps of jobs on Redis.

mod gather;
mod look;
mod reply;
mod scripts;
mod wait;

use super::backend::Backend;
use super::model::{
    After, Audited, BatchState, Callbacks, Cancelled, Counted, DeadGroup, Declaring, Fired, Firing,
    Found, Grain, Held, JobId, Joined, Joining, Kept, LaneInfo, Noted, Outgoing, Owed, Page,
    QueueLook, Redriven, Renewed, Shelf, Telling, Took, Turn, Written,
};
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;
use crate::kernel::redis::{Gathering, Link, Single};
pub(super) use wait::{RedisEndings, RedisWaker};

pub(crate) struct RedisBackend {
    link: Link,
    gathering: Gathering<Single<Outgoing>>,
}

impl RedisBackend {
    pub(crate) fn new(link: Link) -> Self {
        Self { gathering: Gathering::new(link.clone()), link }
    }

    /// Partitions with the same number can be waited for together.
    pub(super) fn together(&self, keys: &QueueKeys) -> u16 {
        self.link.together(keys.meta())
    }

    pub(super) fn waker(&self, keys: &[QueueKeys]) -> RedisWaker {
        RedisWaker::new(&self.link, keys)
    }

    pub(super) fn endings(&self, keys: &QueueKeys) -> RedisEndings {
        RedisEndings::new(&self.link, keys)
    }
}

impl Backend for RedisBackend {
    async fn declare(&self, keys: &QueueKeys, declaring: Declaring) -> Result<QueueLook> {
        look::declare(&self.link, keys, declaring).await
    }

    async fn enqueue(
        &self,
        keys: &QueueKeys,
        partitions: u16,
        jobs: Vec<Outgoing>,
    ) -> Result<Written> {
        self.gathering.write(keys, partitions, jobs).await
    }

    async fn join(&self, keys: &QueueKeys, joining: Joining<'_>) -> Result<Joined> {
        scripts::join(&self.link, keys, joining).await
    }

    async fn turn(&self, keys: &QueueKeys, turn: &Turn<'_>) -> Result<Held<Took>> {
        scripts::turn(&self.link, keys, turn).await
    }

    async fn renew(
        &self,
        keys: &QueueKeys,
        lane: &str,
        lease_ms: u64,
        held: &[(JobId, u64)],
    ) -> Result<Held<Renewed>> {
        scripts::renew(&self.link, keys, lane, lease_ms, held).await
    }

    async fn leave(&self, keys: &QueueKeys, lane: &str) -> Result<()> {
        scripts::leave(&self.link, keys, lane).await
    }

    async fn tell(&self, keys: &QueueKeys, telling: Telling<'_>) -> Result<Noted> {
        scripts::tell(&self.link, keys, telling).await
    }

    async fn cancel(&self, keys: &QueueKeys, id: JobId) -> Result<Cancelled> {
        scripts::cancel(&self.link, keys, id).await
    }

    async fn pause(&self, keys: &QueueKeys, is_paused: bool) -> Result<()> {
        scripts::pause(&self.link, keys, is_paused).await
    }

    async fn find(&self, keys: &QueueKeys, id: JobId) -> Result<Option<Found>> {
        look::find(&self.link, keys, id, 0).await
    }

    async fn find_awaiting(
        &self,
        keys: &QueueKeys,
        id: JobId,
        for_ms: u64,
    ) -> Result<Option<Found>> {
        look::find(&self.link, keys, id, for_ms).await
    }

    async fn page(
        &self,
        keys: &QueueKeys,
        shelf: &Shelf,
        after: &After,
        count: usize,
    ) -> Result<Page> {
        look::page(&self.link, keys, shelf, after, count).await
    }

    async fn past(
        &self,
        keys: &QueueKeys,
        from: usize,
        turns: usize,
    ) -> Result<Vec<(u64, String)>> {
        look::past(&self.link, keys, from, turns).await
    }

    async fn done(&self, keys: &QueueKeys, id: JobId) -> Result<Option<(u64, String)>> {
        look::done(&self.link, keys, id).await
    }

    async fn dead_groups(&self, keys: &QueueKeys) -> Result<Vec<DeadGroup>> {
        look::dead_groups(&self.link, keys).await
    }

    async fn redrive(&self, keys: &QueueKeys, dead: &[JobId]) -> Result<Redriven> {
        scripts::redrive(&self.link, keys, dead).await
    }

    async fn drop_dead(&self, keys: &QueueKeys, dead: &[JobId]) -> Result<u64> {
        scripts::drop_dead(&self.link, keys, dead).await
    }

    async fn open_batch(
        &self,
        keys: &QueueKeys,
        batch: JobId,
        callbacks: &Callbacks,
    ) -> Result<BatchState> {
        scripts::open_batch(&self.link, keys, batch, callbacks).await
    }

    async fn seal_batch(&self, keys: &QueueKeys, batch: JobId) -> Result<Option<BatchState>> {
        scripts::seal_batch(&self.link, keys, batch).await
    }

    async fn look_at_batch(&self, keys: &QueueKeys, batch: JobId) -> Result<Option<BatchState>> {
        scripts::look_at_batch(&self.link, keys, batch).await
    }

    async fn owed(&self, keys: &QueueKeys) -> Result<Vec<Owed>> {
        scripts::owed(&self.link, keys).await
    }

    async fn paid(&self, keys: &QueueKeys, members: &[String]) -> Result<()> {
        scripts::paid(&self.link, keys, members).await
    }

    async fn put_recurring(
        &self,
        keys: &QueueKeys,
        name: &str,
        definition: &[u8],
        schedule: &str,
        expected: Option<u64>,
    ) -> Result<Option<Kept>> {
        scripts::put_recurring(&self.link, keys, name, [definition, schedule.as_bytes()], expected)
            .await
    }

    async fn recurring(&self, keys: &QueueKeys) -> Result<(Vec<Kept>, u64)> {
        look::recurring(&self.link, keys).await
    }

    async fn drop_recurring(&self, keys: &QueueKeys, name: &str) -> Result<bool> {
        scripts::drop_recurring(&self.link, keys, name).await
    }

    async fn fire(&self, keys: &QueueKeys, firing: &Firing<'_>) -> Result<Fired> {
        scripts::fire(&self.link, keys, firing).await
    }

    async fn look(&self, keys: &QueueKeys) -> Result<Option<QueueLook>> {
        look::look(&self.link, keys).await
    }

    async fn lanes(&self, keys: &QueueKeys) -> Result<Vec<LaneInfo>> {
        look::lanes(&self.link, keys).await
    }

    async fn counted(&self, keys: &QueueKeys, grain: Grain, count: usize) -> Result<Vec<Counted>> {
        look::counted(&self.link, keys, grain, count).await
    }

    async fn audit(&self, keys: &QueueKeys, unless_within_ms: u64) -> Result<Audited> {
        scripts::audit(&self.link, keys, unless_within_ms).await
    }

    async fn eviction(&self, keys: &QueueKeys) -> Result<Option<String>> {
        look::eviction(&self.link, keys.meta()).await
    }

    async fn note_queue(&self, queues_key: &str, queue: &str) -> Result<bool> {
        look::note_queue(&self.link, queues_key, queue).await
    }

    async fn queues(&self, queues_key: &str) -> Result<Vec<String>> {
        look::queues(&self.link, queues_key).await
    }

    async fn note_recurring(
        &self,
        recurring_key: &str,
        name: &str,
        queue: Option<&str>,
    ) -> Result<Option<String>> {
        look::note_recurring(&self.link, recurring_key, name, queue).await
    }

    async fn recurring_names(&self, recurring_key: &str) -> Result<Vec<(String, String)>> {
        look::recurring_names(&self.link, recurring_key).await
    }
}
