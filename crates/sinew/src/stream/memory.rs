//! The steps in process.

mod group;
mod log;
mod look;
mod marks;
mod state;
mod steps;
mod wait;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::backend::{Acking, Backend, Burying};
use super::model::{
    Bury, Claim, Consumer, DEAD_KEEP, Declared, Due, Entry, EntryId, Force, GroupChange, GroupLook,
    Joined, Joining, Left, Noted, Outgoing, Parking, PartitionLook, Promoted, Read, ReadFrom,
    Redriven, Reply, Settlement, Span, Start, Take, Taken, Tick, Ticking, Trim, Trimming, Who,
    Written, millis,
};
use crate::kernel::clock::Clock;
use crate::kernel::error::Result;
use crate::kernel::key::{GroupKeys, PartitionKeys};

use self::state::State;
use self::steps::At;
pub(super) use self::wait::{MemoryReader, MemoryTail, MemoryWaker};

/// The streams of one `Sinew::embedded()`. When it is full, publishing is refused: nothing is evicted.
pub(crate) struct MemoryBackend(Arc<Inner>);

struct Inner {
    clock: Clock,
    bytes_max: usize,
    // A plain mutex: held for a few steps, never over an await.
    state: Mutex<State>,
    /// Moves with everything that those who wait for entries want to know.
    news: watch::Sender<u64>,
}

impl Inner {
    fn now_ms(&self) -> u64 {
        self.clock.wall().0
    }

    fn tell_news(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    fn step<T>(&self, step: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.state.lock();
        step(&mut state, self.now_ms())
    }

    /// The same, after which there may be something to read.
    fn step_with_news<T>(&self, step: impl FnOnce(&mut State, u64) -> T) -> T {
        let done = self.step(step);
        self.tell_news();
        done
    }
}

impl MemoryBackend {
    pub(crate) fn new(clock: Clock, bytes_max: usize) -> Self {
        let (state, news) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Inner { clock, bytes_max, state, news }))
    }

    /// A step on a group; nothing where there is no such group.
    fn on_group<T>(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        step: impl FnOnce(At<'_>) -> T,
    ) -> Option<T> {
        self.0.step(|state, now_ms| At::of(state, keys, group, now_ms).map(step))
    }

    fn reply<T>(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        step: impl FnOnce(At<'_>) -> T,
    ) -> Result<Reply<T>> {
        Ok(self.on_group(keys, group, step).map_or(Reply::NoGroup, Reply::Ok))
    }
}

impl Backend for MemoryBackend {
    async fn declare(
        &self,
        keys: &PartitionKeys,
        partitions: Option<u16>,
        len_max: Option<u64>,
        keep_ms: Option<u64>,
    ) -> Result<Declared> {
        Ok(self.0.step(|state, _| state.declare(keys, partitions, len_max, keep_ms)))
    }

    async fn publish(
        &self,
        keys: &PartitionKeys,
        partitions: u16,
        events: Vec<Outgoing>,
    ) -> Result<Written> {
        let bytes_max = self.0.bytes_max;
        Ok(self.0.step_with_news(|state, now_ms| {
            state.publish(keys, partitions, events, bytes_max, now_ms)
        }))
    }

    async fn promote(&self, keys: &PartitionKeys, max: usize) -> Result<Promoted> {
        Ok(self.0.step_with_news(|state, now_ms| state.promote(keys, max, now_ms)))
    }

    async fn join(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        joining: &Joining<'_>,
    ) -> Result<Joined> {
        Ok(self.0.step(|state, now_ms| state.join(keys, group, joining, now_ms)))
    }

    async fn tick(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        ticking: &Ticking<'_>,
    ) -> Result<Tick> {
        Ok(self.on_group(keys, group, |mut at| at.tick(ticking)).unwrap_or(Tick::NoGroup))
    }

    async fn members(&self, group: &GroupKeys) -> Result<Vec<String>> {
        Ok(self.0.step(|state, now_ms| state.members(group, now_ms)))
    }

    async fn rename(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        old: &str,
        new: &str,
        lease_ms: u64,
    ) -> Result<Reply<Vec<EntryId>>> {
        self.reply(keys, group, |mut at| at.rename(old, new, lease_ms))
    }

    async fn recover(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        known: &[EntryId],
        max: usize,
    ) -> Result<Reply<Taken>> {
        self.reply(keys, group, |mut at| at.recover(consumer, known, max))
    }

    async fn claim(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        ticking: &Ticking<'_>,
        from: &str,
        max: usize,
    ) -> Result<Claim> {
        let claim = self.on_group(keys, group, |mut at| at.claim(ticking, from, max));
        Ok(claim.unwrap_or(Claim::NoGroup))
    }

    async fn due(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        max: usize,
    ) -> Result<Due> {
        self.promote(keys, steps::PROMOTE_MAX).await?;
        let due = self.on_group(keys, group, |mut at| at.due(consumer, max));
        Ok(due.unwrap_or(Due::NoGroup))
    }

    async fn ack(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        acking: Acking<'_>,
    ) -> Result<Reply<Settlement>> {
        Ok(self.0.step(|state, now_ms| {
            let Some(mut at) = At::of(state, keys, group, now_ms) else { return Reply::NoGroup };
            let (settled, finished) = at.ack(who, acking.ids);
            if let Some((events, window_ms)) = acking.inbox {
                for event in finished.into_iter().filter_map(|at| events.get(at)) {
                    state.inbox.set(&group.done(event), (), now_ms.saturating_add(window_ms));
                }
            }
            Reply::Ok(settled)
        }))
    }

    async fn park(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        parking: &[Parking],
    ) -> Result<Reply<Settlement>> {
        self.reply(keys, group, |mut at| at.park(who, parking))
    }

    async fn bury(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        burying: Burying<'_>,
    ) -> Result<Bury> {
        Ok(self.0.step_with_news(|state, now_ms| state.bury(keys, group, who, burying, now_ms)))
    }

    async fn leave(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        max: usize,
    ) -> Result<Reply<Left>> {
        self.reply(keys, group, |mut at| at.leave(consumer, max))
    }

    async fn notes(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        ids: &[EntryId],
    ) -> Result<Reply<Vec<Noted>>> {
        self.reply(keys, group, |at| at.notes(consumer, ids))
    }

    async fn read_new(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        max: usize,
    ) -> Result<Reply<Vec<Entry>>> {
        self.reply(keys, group, |mut at| at.read_new(consumer, max))
    }

    async fn take(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        owner: &str,
        lease_ms: u64,
    ) -> Result<Take> {
        let take = self.on_group(keys, group, |mut at| at.take(owner, lease_ms));
        Ok(take.unwrap_or(Take::NoGroup))
    }

    async fn hold(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        fence: u64,
        lease_ms: u64,
    ) -> Result<Tick> {
        let held = self.on_group(keys, group, |mut at| at.hold(fence, lease_ms));
        Ok(held.unwrap_or(Tick::NoGroup))
    }

    async fn read(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        fence: u64,
        from: ReadFrom,
        max: usize,
    ) -> Result<Read> {
        let read = self.on_group(keys, group, |mut at| at.read(fence, from, max));
        Ok(read.unwrap_or(Read::NoGroup))
    }

    async fn release(&self, keys: &PartitionKeys, group: &GroupKeys, fence: u64) -> Result<bool> {
        let released = self.on_group(keys, group, |at| {
            let is_own = at.group.owner.has(fence);
            if is_own {
                at.group.owner.until_ms = 0;
            }
            is_own
        });
        Ok(released.unwrap_or(false))
    }

    async fn trim(&self, keys: &PartitionKeys, trimming: Trimming) -> Result<Trim> {
        let (trimming, dead_keep_ms) = (trimming.of(keys.topic()), millis(DEAD_KEEP));
        Ok(self.0.step(|state, now_ms| state.trim(keys, trimming, dead_keep_ms, now_ms)))
    }

    async fn partitions(&self, keys: &PartitionKeys) -> Result<Option<u16>> {
        Ok(self.0.step(|state, _| state.partitions(keys)))
    }

    async fn look(&self, keys: &PartitionKeys) -> Result<Option<PartitionLook>> {
        Ok(self.0.step(|state, now_ms| state.look(keys, now_ms)))
    }

    async fn look_at_groups(&self, keys: &PartitionKeys) -> Result<Vec<GroupLook>> {
        Ok(self.0.step(|state, now_ms| state.look_at_groups(keys, now_ms)))
    }

    async fn range(&self, keys: &PartitionKeys, span: Span, count: usize) -> Result<Vec<Entry>> {
        Ok(self.0.step(|state, _| state.range(keys.log(), span, count)))
    }

    async fn dead_range(
        &self,
        keys: &PartitionKeys,
        span: Span,
        count: usize,
    ) -> Result<Vec<Entry>> {
        Ok(self.0.step(|state, _| state.range(keys.dead(), span, count)))
    }

    async fn redrive(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        dead: &[EntryId],
    ) -> Result<Redriven> {
        Ok(self.0.step_with_news(|state, now_ms| {
            state.redrive(keys, group.name().as_str(), dead, now_ms)
        }))
    }

    async fn drop_dead(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        dead: &[EntryId],
    ) -> Result<u64> {
        Ok(self.0.step(|state, _| state.drop_dead(keys, group.name().as_str(), dead)))
    }

    async fn seek(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        to: Start,
        how: Force,
    ) -> Result<GroupChange> {
        let change = self.on_group(keys, group, |mut at| at.seek(to, how));
        self.0.tell_news();
        Ok(change.unwrap_or(GroupChange::Unknown))
    }

    async fn keep(&self, keys: &PartitionKeys, group: &GroupKeys) -> Result<()> {
        self.on_group(keys, group, |at| at.group.seen_ms = at.now_ms);
        Ok(())
    }

    async fn forget(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        how: Force,
    ) -> Result<GroupChange> {
        Ok(self.0.step_with_news(|state, now_ms| state.forget(keys, group, how, now_ms)))
    }

    async fn inbox(&self, group: &GroupKeys, events: &[&str]) -> Result<Vec<bool>> {
        Ok(self.0.step(|state, now_ms| {
            let is_done = |event: &&str| state.inbox.get(&group.done(event), now_ms).is_some();
            events.iter().map(is_done).collect()
        }))
    }

    async fn consumers(&self, keys: &PartitionKeys, group: &GroupKeys) -> Result<Vec<Consumer>> {
        Ok(self.on_group(keys, group, |at| at.consumers()).unwrap_or_default())
    }

    async fn topics(&self, topics_key: &str) -> Result<Vec<String>> {
        Ok(self.0.step(|state, _| state.topics(topics_key)))
    }

    async fn note_topic(&self, topics_key: &str, topic: &str) -> Result<bool> {
        Ok(self.0.step(|state, _| state.note_topic(topics_key, topic)))
    }
}
