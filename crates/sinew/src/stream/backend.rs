//! The atomic steps that streams need from a store, and what waits for news.

use std::collections::BTreeMap;

use super::memory::{MemoryBackend, MemoryReader, MemoryTail, MemoryWaker};
use super::model::{
    Bury, Claim, Consumer, Declared, Due, Entry, EntryId, Force, GroupChange, GroupLook, Joined,
    Joining, Left, Next, Noted, Outgoing, Parking, PartitionLook, Promoted, Read, ReadFrom,
    Redriven, Reply, Settlement, Span, Start, Take, Taken, Tick, Ticking, Trim, Trimming, Who,
    Written,
};
#[cfg(feature = "redis")]
use super::redis::{RedisBackend, RedisReader, RedisTail, RedisWaker};
use crate::kernel::backend::backend;
use crate::kernel::error::Result;
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::name::GroupName;

/// What is to be acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acking<'a> {
    pub(super) ids: &'a [EntryId],
    /// What these events are called, where the group has an inbox; and for how long that is kept.
    pub(super) inbox: Option<(&'a [String], u64)>,
}

/// What is to be a dead letter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burying<'a> {
    pub(super) id: EntryId,
    pub(super) reason: &'a str,
    pub(super) note: &'a [u8],
}

/// The stores that there are.
pub(super) enum Store {
    Memory(MemoryBackend),
    #[cfg(feature = "redis")]
    Redis(RedisBackend),
}

backend! {
    /// Makes a partition of a topic of so many, or finds how it was made. Bounds are written where they are
    /// given, and otherwise stay, or become the defaults.
    async fn declare(
        &self,
        keys: &PartitionKeys,
        partitions: Option<u16>,
        len_max: Option<u64>,
        keep_ms: Option<u64>
    ) -> Result<Declared>;

    /// Writes events, all or none, in this order. Sent again after a lost reply only where all of them have a dedup id.
    async fn publish(&self, keys: &PartitionKeys, partitions: u16, events: Vec<Outgoing>) -> Result<Written>;

    /// Writes delayed events that are due, so many at most.
    async fn promote(&self, keys: &PartitionKeys, max: usize) -> Result<Promoted>;

    /// Makes the group where there is none, or moves it forward to a checkpoint, and adds whoever joins to its members.
    async fn join(&self, keys: &PartitionKeys, group: &GroupKeys, joining: &Joining<'_>) -> Result<Joined>;

    /// Renews a consumer's lease, and says what is to be done. Passes the breaker.
    async fn tick(&self, keys: &PartitionKeys, group: &GroupKeys, ticking: &Ticking<'_>) -> Result<Tick>;

    /// Those members whose lease is not over, by name.
    async fn members(&self, group: &GroupKeys) -> Result<Vec<String>>;

    /// Gives what a fallen consumer still has to its new name, and says what that is.
    async fn rename(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        old: &str,
        new: &str,
        lease_ms: u64
    ) -> Result<Reply<Vec<EntryId>>>;

    /// What a consumer has beside what it knows, so many entries at most.
    async fn recover(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        known: &[EntryId],
        max: usize
    ) -> Result<Reply<Taken>>;

    /// Takes what a consumer has whose lease is over.
    async fn claim(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        ticking: &Ticking<'_>,
        from: &str,
        max: usize
    ) -> Result<Claim>;

    /// Takes parked entries that are due, after delayed events that are were written.
    async fn due(&self, keys: &PartitionKeys, group: &GroupKeys, consumer: &str, max: usize) -> Result<Due>;

    /// Acknowledges what is still whose it was. Passes the breaker.
    async fn ack(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        acking: Acking<'_>
    ) -> Result<Reply<Settlement>>;

    /// Parks entries for later. Passes the breaker.
    async fn park(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        parking: &[Parking]
    ) -> Result<Reply<Settlement>>;

    /// Makes a dead letter of an entry. Passes the breaker.
    async fn bury(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        who: &Who,
        burying: Burying<'_>
    ) -> Result<Bury>;

    /// Those of some entries that a consumer has, with what is noted of them.
    async fn notes(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        ids: &[EntryId]
    ) -> Result<Reply<Vec<Noted>>>;

    /// New entries that are there, for a consumer. Sent once: what a lost reply had is recovered, or comes back
    /// with its lease.
    async fn read_new(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        max: usize
    ) -> Result<Reply<Vec<Entry>>>;

    /// Gives back so many entries at most, and removes the consumer once it has none; with none to be given back,
    /// only one that has none. Passes the breaker.
    async fn leave(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        consumer: &str,
        max: usize
    ) -> Result<Reply<Left>>;

    /// Takes a partition under a new fence, if no one has it.
    async fn take(&self, keys: &PartitionKeys, group: &GroupKeys, owner: &str, lease_ms: u64) -> Result<Take>;

    /// Renews the lease of a partition's owner: [`Tick::Fallen`] where another has a newer fence. Passes the breaker.
    async fn hold(&self, keys: &PartitionKeys, group: &GroupKeys, fence: u64, lease_ms: u64) -> Result<Tick>;

    /// Reads on as the owner of a partition. Sent once: what a lost reply had is found among the pending.
    async fn read(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        fence: u64,
        from: ReadFrom,
        max: usize
    ) -> Result<Read>;

    /// Gives a partition up. Whether the fence was still its own. Passes the breaker.
    async fn release(&self, keys: &PartitionKeys, group: &GroupKeys, fence: u64) -> Result<bool>;

    /// Removes what no group needs any more.
    async fn trim(&self, keys: &PartitionKeys, trimming: Trimming) -> Result<Trim>;

    /// How many partitions the topic has; nothing where this one was not declared.
    async fn partitions(&self, keys: &PartitionKeys) -> Result<Option<u16>>;

    /// The numbers of a partition; nothing where it was not declared.
    async fn look(&self, keys: &PartitionKeys) -> Result<Option<PartitionLook>>;

    /// The groups of a log alone, also where it was not declared: those of dead letters.
    async fn look_at_groups(&self, keys: &PartitionKeys) -> Result<Vec<GroupLook>>;

    /// Entries of the log, in their order.
    async fn range(&self, keys: &PartitionKeys, span: Span, count: usize) -> Result<Vec<Entry>>;

    /// Dead letters, in their order.
    async fn dead_range(&self, keys: &PartitionKeys, span: Span, count: usize) -> Result<Vec<Entry>>;

    /// Publishes dead letters of a group again, for it alone. Sent once.
    async fn redrive(&self, keys: &PartitionKeys, group: &GroupKeys, dead: &[EntryId]) -> Result<Redriven>;

    /// Removes dead letters of a group, and says how many.
    async fn drop_dead(&self, keys: &PartitionKeys, group: &GroupKeys, dead: &[EntryId]) -> Result<u64>;

    /// Moves a group.
    async fn seek(
        &self,
        keys: &PartitionKeys,
        group: &GroupKeys,
        to: Start,
        how: Force
    ) -> Result<GroupChange>;

    /// Says that a group is not to be forgotten, where it is there.
    async fn keep(&self, keys: &PartitionKeys, group: &GroupKeys) -> Result<()>;

    /// Removes a group, with all that is kept of it.
    async fn forget(&self, keys: &PartitionKeys, group: &GroupKeys, how: Force) -> Result<GroupChange>;

    /// Which of these events were finished before.
    async fn inbox(&self, group: &GroupKeys, events: &[&str]) -> Result<Vec<bool>>;

    /// The consumers of a group, with what they have; `~parked` is none of them. Of an ordered one its owner.
    async fn consumers(&self, keys: &PartitionKeys, group: &GroupKeys) -> Result<Vec<Consumer>>;

    /// Topics that were declared, by name.
    async fn topics(&self, topics_key: &str) -> Result<Vec<String>>;

    /// Notes that a topic was declared. Whether there was room for it.
    async fn note_topic(&self, topics_key: &str, topic: &str) -> Result<bool>;
}

/// Waits for new entries as a consumer of a group.
pub(super) enum Reader {
    Memory(MemoryReader),
    #[cfg(feature = "redis")]
    Redis(RedisReader),
}

/// Waits until there are entries, and takes none.
pub(super) enum Waker {
    Memory(MemoryWaker),
    #[cfg(feature = "redis")]
    Redis(RedisWaker),
}

/// Reads entries, and takes none.
pub(super) enum TailReader {
    Memory(MemoryTail),
    #[cfg(feature = "redis")]
    Redis(RedisTail),
}

impl Store {
    /// Partitions, parted into those that can be waited for together.
    pub(super) fn together(&self, all: &[PartitionKeys]) -> Vec<Vec<PartitionKeys>> {
        let mut together: BTreeMap<u16, Vec<PartitionKeys>> = BTreeMap::new();
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
    pub(super) fn reader(&self, keys: &[PartitionKeys], group: &GroupName) -> Reader {
        match self {
            Self::Memory(backend) => Reader::Memory(backend.reader(keys, group)),
            #[cfg(feature = "redis")]
            Self::Redis(backend) => Reader::Redis(backend.reader(keys, group)),
        }
    }

    pub(super) fn waker(&self, keys: &[PartitionKeys]) -> Waker {
        match self {
            Self::Memory(backend) => Waker::Memory(backend.waker(keys)),
            #[cfg(feature = "redis")]
            Self::Redis(backend) => Waker::Redis(backend.waker(keys)),
        }
    }

    pub(super) fn tail_reader(&self, keys: &[PartitionKeys]) -> TailReader {
        match self {
            Self::Memory(backend) => TailReader::Memory(backend.tail_reader(keys)),
            #[cfg(feature = "redis")]
            Self::Redis(backend) => TailReader::Redis(backend.tail_reader(keys)),
        }
    }
}

impl Reader {
    /// New entries, or that there were none for two seconds. At most `max` of each partition.
    pub(super) async fn next(&mut self, consumer: &str, max: usize) -> Result<Next> {
        match self {
            Self::Memory(reader) => reader.next(consumer, max).await,
            #[cfg(feature = "redis")]
            Self::Redis(reader) => reader.next(consumer, max).await,
        }
    }
}

impl Waker {
    /// Returns once a partition has an entry after the one that is named for it, and after two seconds at the latest.
    pub(super) async fn until_new(&mut self, after: &[EntryId]) -> Result<()> {
        match self {
            Self::Memory(waker) => waker.until_new(after).await,
            #[cfg(feature = "redis")]
            Self::Redis(waker) => waker.until_new(after).await,
        }
    }
}

impl TailReader {
    /// Entries after those that are named, at most 100 of each partition; none where there were none for two seconds.
    pub(super) async fn next(&mut self, after: &[EntryId]) -> Result<Vec<(u16, Entry)>> {
        match self {
            Self::Memory(tail) => tail.next(after).await,
            #[cfg(feature = "redis")]
            Self::Redis(tail) => tail.next(after).await,
        }
    }
}
