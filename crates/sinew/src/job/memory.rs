//! The steps in process.

mod batches;
mod dead;
mod end;
mod jobs;
mod keys;
mod look;
mod marks;
mod recurring;
mod state;
mod turn;
mod wait;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};

use super::backend::Backend;
use super::model::{
    After, Audited, BatchState, Callbacks, Cancelled, Counted, DeadGroup, Declaring, Fired, Firing,
    Found, Grain, Held, JobId, Joined, Joining, Kept, LaneInfo, Noted, Outgoing, Owed, Page,
    QueueLook, Redriven, Renewed, Shelf, Telling, Told, Took, Turn, Written,
};
use crate::kernel::clock::Clock;
use crate::kernel::error::Result;
use crate::kernel::key::QueueKeys;

use self::state::{Queue, State};
pub(super) use self::wait::{MemoryEndings, MemoryWaker};

/// How many ends are told before whoever is slow has to look for itself.
const ENDED_MAX: usize = 256;

/// The jobs of one `Sinew::embedded()`. When it is full, enqueueing is refused: nothing is evicted.
pub(crate) struct MemoryBackend(Arc<Inner>);

struct Inner {
    clock: Clock,
    bytes_max: usize,
    // A plain mutex: held for a few steps, never over an await.
    state: Mutex<State>,
    /// Moves when there are tokens for those who wait for jobs.
    news: watch::Sender<u64>,
    ended: broadcast::Sender<Heard>,
}

/// An end, and in which partition it was.
#[derive(Clone)]
struct Heard {
    keys: QueueKeys,
    id: JobId,
    told: Told,
}

impl Inner {
    /// A step on a partition, after which those are told who wait.
    fn step<T>(&self, keys: &QueueKeys, step: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.state.lock();
        let done = step(&mut state, self.clock.wall().0);
        let Some(queue) = state.queues.get_mut(keys.meta()) else { return done };
        let (told, has_tokens) = (std::mem::take(&mut queue.told), queue.wakes > 0);
        drop(state);
        for (id, told) in told {
            // Nobody may be there.
            let _ = self.ended.send(Heard { keys: keys.clone(), id, told });
        }
        if has_tokens {
            self.news.send_modify(|news| *news = news.wrapping_add(1));
        }
        done
    }

    /// A token of the first of these partitions that has one.
    fn take_token(&self, keys: &[QueueKeys]) -> Option<usize> {
        let mut state = self.state.lock();
        keys.iter().position(|keys| {
            let queue = state.queues.get_mut(keys.meta()).filter(|queue| queue.wakes > 0);
            queue.map(|queue| queue.wakes -= 1).is_some()
        })
    }
}

impl MemoryBackend {
    pub(crate) fn new(clock: Clock, bytes_max: usize) -> Self {
        let (state, news) = (Mutex::default(), watch::Sender::new(0));
        let ended = broadcast::Sender::new(ENDED_MAX);
        Self(Arc::new(Inner { clock, bytes_max, state, news, ended }))
    }

    /// A step on a partition; nothing where there is no such partition.
    fn on<T>(&self, keys: &QueueKeys, step: impl FnOnce(&mut Queue, u64) -> T) -> Option<T> {
        self.0.step(keys, |state, now_ms| {
            state.queues.get_mut(keys.meta()).map(|queue| step(queue, now_ms))
        })
    }

    /// A step on a partition, which is made where it is not there.
    fn made<T>(&self, keys: &QueueKeys, step: impl FnOnce(&mut Queue, u64) -> T) -> T {
        self.0.step(keys, |state, now_ms| {
            step(state.queues.entry(keys.meta().to_owned()).or_default(), now_ms)
        })
    }

    /// The same, of one that jobs are to be written into: with how many bytes there is room for.
    fn with_room<T>(
        &self,
        keys: &QueueKeys,
        jobs: &[Outgoing],
        step: impl FnOnce(&mut Queue, usize, u64) -> T,
    ) -> T {
        self.0.step(keys, |state, now_ms| {
            let (queue, room) = state.with_room(keys, jobs, self.0.bytes_max, now_ms);
            step(queue, room, now_ms)
        })
    }
}

impl Backend for MemoryBackend {
    async fn declare(&self, keys: &QueueKeys, declaring: Declaring) -> Result<QueueLook> {
        Ok(self.made(keys, |queue, now_ms| {
            queue.declare(declaring);
            queue.look(now_ms).unwrap_or_default()
        }))
    }

    async fn enqueue(
        &self,
        keys: &QueueKeys,
        partitions: u16,
        jobs: Vec<Outgoing>,
    ) -> Result<Written> {
        Ok(self.with_room(keys, &jobs, |queue, room, now_ms| {
            queue.enqueue(partitions, &jobs, room, now_ms)
        }))
    }

    async fn join(&self, keys: &QueueKeys, joining: Joining<'_>) -> Result<Joined> {
        Ok(self.made(keys, |queue, now_ms| queue.join(joining, now_ms)))
    }

    async fn turn(&self, keys: &QueueKeys, turn: &Turn<'_>) -> Result<Held<Took>> {
        Ok(self.on(keys, |queue, now_ms| queue.turn(turn, now_ms)).unwrap_or(Held::Fallen))
    }

    async fn renew(
        &self,
        keys: &QueueKeys,
        lane: &str,
        lease_ms: u64,
        held: &[(JobId, u64)],
    ) -> Result<Held<Renewed>> {
        let renewed = self.on(keys, |queue, now_ms| queue.renew(lane, lease_ms, held, now_ms));
        Ok(renewed.unwrap_or(Held::Fallen))
    }

    async fn leave(&self, keys: &QueueKeys, lane: &str) -> Result<()> {
        self.on(keys, |queue, _| queue.leave(lane));
        Ok(())
    }

    async fn tell(&self, keys: &QueueKeys, telling: Telling<'_>) -> Result<Noted> {
        Ok(self.on(keys, |queue, _| queue.tell_of(telling)).unwrap_or(Noted::Lost))
    }

    async fn cancel(&self, keys: &QueueKeys, id: JobId) -> Result<Cancelled> {
        let cancelled = self.on(keys, |queue, now_ms| queue.cancel(id, now_ms));
        Ok(cancelled.unwrap_or(Cancelled::Unknown))
    }

    async fn pause(&self, keys: &QueueKeys, is_paused: bool) -> Result<()> {
        self.made(keys, |queue, _| queue.pause(is_paused));
        Ok(())
    }

    async fn find(&self, keys: &QueueKeys, id: JobId) -> Result<Option<Found>> {
        Ok(self.on(keys, |queue, now_ms| queue.find(id, now_ms)).flatten())
    }

    async fn find_awaiting(
        &self,
        keys: &QueueKeys,
        id: JobId,
        for_ms: u64,
    ) -> Result<Option<Found>> {
        Ok(self.on(keys, |queue, now_ms| queue.find_awaiting(id, for_ms, now_ms)).flatten())
    }

    async fn page(
        &self,
        keys: &QueueKeys,
        shelf: &Shelf,
        after: &After,
        count: usize,
    ) -> Result<Page> {
        let page = self.on(keys, |queue, now_ms| queue.page(shelf, after, count, now_ms));
        Ok(page.unwrap_or_default())
    }

    async fn past(
        &self,
        keys: &QueueKeys,
        from: usize,
        turns: usize,
    ) -> Result<Vec<(u64, String)>> {
        Ok(self.on(keys, |queue, _| queue.past(from, turns)).unwrap_or_default())
    }

    async fn done(&self, keys: &QueueKeys, id: JobId) -> Result<Option<(u64, String)>> {
        Ok(self.on(keys, |queue, _| queue.done(id)).flatten())
    }

    async fn dead_groups(&self, keys: &QueueKeys) -> Result<Vec<DeadGroup>> {
        Ok(self.on(keys, |queue, _| queue.dead_groups()).unwrap_or_default())
    }

    async fn redrive(&self, keys: &QueueKeys, dead: &[JobId]) -> Result<Redriven> {
        let gone = u64::try_from(dead.len()).unwrap_or(u64::MAX);
        let redriven = self.on(keys, |queue, now_ms| queue.redrive(dead, now_ms));
        Ok(redriven.unwrap_or(Redriven { gone, ..Redriven::default() }))
    }

    async fn drop_dead(&self, keys: &QueueKeys, dead: &[JobId]) -> Result<u64> {
        Ok(self.on(keys, |queue, _| queue.drop_dead(dead)).unwrap_or(0))
    }

    async fn open_batch(
        &self,
        keys: &QueueKeys,
        batch: JobId,
        callbacks: &Callbacks,
    ) -> Result<BatchState> {
        Ok(self.made(keys, |queue, now_ms| queue.open_batch(batch, callbacks, now_ms)))
    }

    async fn seal_batch(&self, keys: &QueueKeys, batch: JobId) -> Result<Option<BatchState>> {
        Ok(self.on(keys, |queue, now_ms| queue.seal_batch(batch, now_ms)).flatten())
    }

    async fn look_at_batch(&self, keys: &QueueKeys, batch: JobId) -> Result<Option<BatchState>> {
        Ok(self.on(keys, |queue, now_ms| queue.look_at_batch(batch, now_ms)).flatten())
    }

    async fn owed(&self, keys: &QueueKeys) -> Result<Vec<Owed>> {
        Ok(self.on(keys, Queue::owed).unwrap_or_default())
    }

    async fn paid(&self, keys: &QueueKeys, members: &[String]) -> Result<()> {
        self.on(keys, |queue, _| queue.paid(members));
        Ok(())
    }

    async fn put_recurring(
        &self,
        keys: &QueueKeys,
        name: &str,
        definition: &[u8],
        schedule: &str,
        expected: Option<u64>,
    ) -> Result<Option<Kept>> {
        Ok(self.made(keys, |queue, now_ms| {
            queue.put_recurring(name, definition, schedule, expected, now_ms)
        }))
    }

    async fn recurring(&self, keys: &QueueKeys) -> Result<(Vec<Kept>, u64)> {
        let now_ms = self.0.clock.wall().0;
        Ok((self.on(keys, |queue, _| queue.recurring()).unwrap_or_default(), now_ms))
    }

    async fn drop_recurring(&self, keys: &QueueKeys, name: &str) -> Result<bool> {
        Ok(self.on(keys, |queue, _| queue.drop_recurring(name)).unwrap_or(false))
    }

    async fn fire(&self, keys: &QueueKeys, firing: &Firing<'_>) -> Result<Fired> {
        Ok(self.with_room(keys, std::slice::from_ref(&firing.job), |queue, room, now_ms| {
            queue.fire(firing, room, now_ms)
        }))
    }

    async fn look(&self, keys: &QueueKeys) -> Result<Option<QueueLook>> {
        Ok(self.on(keys, |queue, now_ms| queue.look(now_ms)).flatten())
    }

    async fn lanes(&self, keys: &QueueKeys) -> Result<Vec<LaneInfo>> {
        Ok(self.on(keys, |queue, _| queue.lane_infos()).unwrap_or_default())
    }

    async fn counted(&self, keys: &QueueKeys, grain: Grain, count: usize) -> Result<Vec<Counted>> {
        let counted = self.on(keys, |queue, now_ms| queue.counted(grain, count, now_ms));
        Ok(counted.unwrap_or_default())
    }

    async fn audit(&self, keys: &QueueKeys, unless_within_ms: u64) -> Result<Audited> {
        let audited = self.on(keys, |queue, now_ms| queue.audit(unless_within_ms, now_ms));
        Ok(audited.unwrap_or_default())
    }

    async fn eviction(&self, _: &QueueKeys) -> Result<Option<String>> {
        Ok(None)
    }

    async fn note_queue(&self, queues_key: &str, queue: &str) -> Result<bool> {
        Ok(self.0.state.lock().note_queue(queues_key, queue))
    }

    async fn queues(&self, queues_key: &str) -> Result<Vec<String>> {
        Ok(self.0.state.lock().queues(queues_key))
    }

    async fn note_recurring(
        &self,
        recurring_key: &str,
        name: &str,
        queue: Option<&str>,
    ) -> Result<Option<String>> {
        Ok(self.0.state.lock().note_recurring(recurring_key, name, queue))
    }

    async fn recurring_names(&self, recurring_key: &str) -> Result<Vec<(String, String)>> {
        Ok(self.0.state.lock().recurring_names(recurring_key))
    }
}
