//! What waits for entries in process.

use std::sync::Arc;

use tokio::sync::watch;

use super::state::State;
use super::steps::At;
use super::{Inner, MemoryBackend};
use crate::kernel::error::Result;
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::name::GroupName;
use crate::stream::model::{BLOCK, Entry, EntryId, Next, Span};

/// How many entries of a partition who only looks is shown at a time.
const TAIL_MAX: usize = 100;

/// Someone who waits for news of some partitions.
struct Waits {
    store: Arc<Inner>,
    keys: Vec<PartitionKeys>,
    news: watch::Receiver<u64>,
}

impl Waits {
    fn new(store: &MemoryBackend, keys: &[PartitionKeys]) -> Self {
        let news = store.0.news.subscribe();
        Self { store: Arc::clone(&store.0), keys: keys.to_vec(), news }
    }

    /// What is found now or once there is something; nothing after two seconds. Cancel-safe: it is looked for
    /// and returned without a pause.
    async fn find<T>(
        &mut self,
        mut look: impl FnMut(&mut State, &[PartitionKeys], u64) -> Option<T>,
    ) -> Option<T> {
        let Self { store, keys, news } = self;
        let over = store.clock.now().after(BLOCK);
        loop {
            // Before it is looked: what comes meanwhile is news.
            news.mark_unchanged();
            if let Some(found) = store.step(|state, now_ms| look(state, keys, now_ms)) {
                return Some(found);
            }
            tokio::select! {
                () = store.clock.sleep_until(over) => return None,
                // The sender lives in the store.
                _ = news.changed() => {}
            }
        }
    }
}

/// Reads as a consumer of a group.
pub(crate) struct MemoryReader {
    waits: Waits,
    groups: Vec<GroupKeys>,
}

/// Waits until there are entries.
pub(crate) struct MemoryWaker(Waits);

/// Reads entries, and takes none.
pub(crate) struct MemoryTail(Waits);

impl MemoryBackend {
    pub(crate) fn reader(&self, keys: &[PartitionKeys], group: &GroupName) -> MemoryReader {
        let groups = keys.iter().map(|keys| keys.group(group)).collect();
        MemoryReader { waits: Waits::new(self, keys), groups }
    }

    pub(crate) fn waker(&self, keys: &[PartitionKeys]) -> MemoryWaker {
        MemoryWaker(Waits::new(self, keys))
    }

    pub(crate) fn tail_reader(&self, keys: &[PartitionKeys]) -> MemoryTail {
        MemoryTail(Waits::new(self, keys))
    }
}

impl MemoryReader {
    pub(in crate::stream) async fn next(&mut self, consumer: &str, max: usize) -> Result<Next> {
        let (consumer, groups) = (Arc::<str>::from(consumer), &self.groups);
        let next = self.waits.find(|state, keys, now_ms| {
            let mut got = Vec::new();
            for (keys, group) in keys.iter().zip(groups) {
                let Some(at) = At::of(state, keys, group, now_ms) else {
                    // What others have given by then is not to be lost on the way.
                    return Some(if got.is_empty() { Next::NoGroup } else { Next::Got(got) });
                };
                let ids = at.group.give(&consumer, at.log, max);
                let entries = ids.into_iter().filter_map(|id| at.group.entry(at.log, id));
                got.extend(entries.map(|entry| (keys.partition(), entry)));
            }
            (!got.is_empty()).then_some(Next::Got(got))
        });
        Ok(next.await.unwrap_or(Next::Nothing))
    }
}

impl MemoryWaker {
    pub(in crate::stream) async fn until_new(&mut self, after: &[EntryId]) -> Result<()> {
        let is_new = |state: &mut State, keys: &[PartitionKeys], _| {
            let mut last = keys.iter().zip(after);
            let has_newer = |(keys, after): (&PartitionKeys, &EntryId)| {
                state.logs.get(keys.log()).is_some_and(|log| log.after(*after).next().is_some())
            };
            last.any(has_newer).then_some(())
        };
        self.0.find(is_new).await;
        Ok(())
    }
}

impl MemoryTail {
    pub(in crate::stream) async fn next(&mut self, after: &[EntryId]) -> Result<Vec<(u16, Entry)>> {
        let find = |state: &mut State, keys: &[PartitionKeys], _| {
            let mut got = Vec::new();
            for (keys, after) in keys.iter().zip(after) {
                let entries = state.range(keys.log(), Span::After(*after), TAIL_MAX);
                got.extend(entries.into_iter().map(|entry| (keys.partition(), entry)));
            }
            (!got.is_empty()).then_some(got)
        };
        Ok(self.0.find(find).await.unwrap_or_default())
    }
}
