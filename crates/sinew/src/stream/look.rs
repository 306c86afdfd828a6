//! Looking at topics and groups, and changing them by hand.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::Streams;
use super::backend::Backend as _;
use super::event::{Event, at_ms};
use super::model::{
    Consumer, Count, DEAD_KEEP, DEAD_LEN_MAX, Entry, Force, GroupChange, GroupLook, GroupMode,
    PARTITIONS_MAX, PartitionLook, Place, Span, Start, Trimming, label_of, millis,
};
use super::page::{Shelf, page};
use super::pull::shown;
use super::topic::check_writable;
use crate::kernel::error::Result;
use crate::kernel::key::{GroupKeys, PartitionKeys};
use crate::kernel::name::{GroupName, TopicName};
use crate::lock::Fence;

/// How many events are looked at together at most.
const EVENTS_MAX: usize = 1_000;
/// What [`Streams::topics`] asks for at once.
const TOPICS_AT_ONCE: usize = 16;

/// A topic in numbers, over all of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// What it is called.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u16,
    /// How many events are there.
    pub len: u64,
    /// How many a partition has at most.
    pub len_max: u64,
    /// For how long events stay that all groups have finished.
    pub keep: Duration,
    /// How many were ever published, since its log was made.
    pub published: u64,
    /// How many wait for their time.
    pub delayed: u64,
    /// How many dead letters are there, of all groups.
    pub dead: u64,
    /// How many events groups have lost, ever.
    pub lost: u64,
    /// When the last one was published.
    pub last_at: Option<SystemTime>,
    /// The group that keeps most from being trimmed.
    pub held_by: Option<String>,
    /// Its groups, by name.
    pub groups: Vec<GroupLag>,
}

/// How far a group is, over all partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLag {
    /// What it is called.
    pub group: String,
    /// How its events are shared.
    pub mode: GroupMode,
    /// Events that it has not read.
    pub waiting: Count,
    /// Events that its consumers have.
    pub held: u64,
    /// How many of these are under a lease that is over: they are for whoever asks next.
    pub orphaned: u64,
    /// Events that wait for another try.
    pub parked: u64,
    /// Its dead letters, of the first 10,000 of a partition.
    pub dead: u64,
    /// How many consumers live. Of an ordered group: how many of its partitions have an owner.
    pub consumers: u32,
    /// The age of the oldest event that it has not finished.
    pub oldest_unacked: Option<Duration>,
    /// When a consumer last said that it lives, or [`Streams::keep_group`] was called.
    pub seen_at: Option<SystemTime>,
    /// No one has read it for so long that it keeps nothing from being trimmed.
    pub is_forgotten: bool,
}

impl GroupLag {
    /// Events that it has not finished: about so many, where [`GroupLag::waiting`] is not exact.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.waiting.n + self.held + self.parked
    }
}

/// A consumer of a group, over all partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// A name that no other ever had. Of a pull only its beginning: all of it is the lease.
    pub name: String,
    /// What people know it by.
    pub label: String,
    /// How many events it has.
    pub held: u64,
    /// How long it lives without saying so again: zero where its lease is over; nothing of one that Sinew did not make.
    pub lease_left: Option<Duration>,
    /// The partitions that it owns, in an ordered group.
    pub partitions: Vec<(u16, Fence)>,
    /// The oldest event that it has.
    pub oldest: Option<Place>,
}

/// An event, as it lies in its topic.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Where it is.
    pub place: Place,
    /// What it is.
    pub event: Event<Bytes>,
    /// The only group that handles it, since it was a dead letter of it.
    pub redriven_to: Option<String>,
}

/// What a trim removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// How many events.
    pub removed: u64,
    /// The group that keeps most of the others.
    pub held_by: Option<String>,
    /// Groups that no one has read for so long that they keep nothing.
    pub forgotten: Vec<String>,
}

/// Where a group is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// To the oldest event that is there.
    Start,
    /// Behind the newest one.
    End,
    /// To the first that was published at that time or later.
    Time(SystemTime),
    /// To this event; of the other partitions, to the first that is as new.
    Place(Place),
}

impl Streams {
    /// All topics of this tenant, by name; 10,000 at most. For people: it asks each.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn topics(&self) -> Result<Vec<TopicInfo>> {
        let names = self.engine.backend.topics(&self.scope.stream_topics()).await?;
        let mut topics = Vec::with_capacity(names.len());
        for names in names.chunks(TOPICS_AT_ONCE) {
            let looks = try_join_all(names.iter().map(|name| self.look(name))).await?;
            topics.extend(looks.into_iter().flatten());
        }
        Ok(topics)
    }

    /// A topic in numbers; nothing where no one has declared it, or published to it. Of dead letters (`orders.dead`), those
    /// that are there count as published; they are there as soon as their topic is.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn look(&self, topic: &str) -> Result<Option<TopicInfo>> {
        let topic = TopicName::new(topic)?;
        let living = TopicName::new(topic.living())?;
        let info = self.look_at_living(&living).await?;
        match info {
            Some(info) if topic.is_dead() => {
                Ok(Some(dead_of(topic.as_str(), &info, self.lag(topic.as_str()).await?)))
            }
            info => Ok(info),
        }
    }

    async fn look_at_living(&self, topic: &TopicName) -> Result<Option<TopicInfo>> {
        let backend = &self.engine.backend;
        let Some(first) = backend.look(&self.scope.stream(topic, 0)).await? else {
            return Ok(None);
        };
        let others: Vec<PartitionKeys> =
            (1..first.declared.partitions).map(|p| self.scope.stream(topic, p)).collect();
        let others = try_join_all(others.iter().map(|keys| backend.look(keys))).await?;
        let looks = std::iter::once(first).chain(others.into_iter().flatten());
        Ok(Some(topic_of(topic.as_str(), looks.collect())))
    }

    /// How far the groups of a topic are, over all partitions, by name. Also those of dead letters: `orders.dead`.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn lag(&self, topic: &str) -> Result<Vec<GroupLag>> {
        let topic = TopicName::new(topic)?;
        let Some(keys) = self.all_there(&topic).await? else { return Ok(Vec::new()) };
        let backend = &self.engine.backend;
        let looks = try_join_all(keys.iter().map(|keys| backend.look_at_groups(keys))).await?;
        Ok(groups_of(looks.into_iter().flatten()))
    }

    /// The consumers of a group, by name.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn consumers(&self, topic: &str, group: &str) -> Result<Vec<ConsumerInfo>> {
        let (topic, group) = (TopicName::new(topic)?, GroupName::new(group)?);
        let mut consumers = BTreeMap::new();
        for keys in self.all_there(&topic).await?.unwrap_or_default() {
            for one in self.engine.backend.consumers(&keys, &keys.group(&group)).await? {
                add_consumer(&mut consumers, keys.partition(), one);
            }
        }
        Ok(consumers.into_values().collect())
    }

    /// The event at a place; nothing where it was trimmed, or is none.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn event(&self, topic: &str, place: &Place) -> Result<Option<StoredEvent>> {
        let topic = TopicName::new(topic)?;
        let keys = self.scope.stream(&topic, place.partition);
        let entries = self.engine.backend.range(&keys, Span::One(place.entry), 1).await?;
        Ok(entries.into_iter().find_map(|entry| stored(&topic, place.partition, entry)))
    }

    /// Events after a place, by when they were published; the oldest first, 1,000 at most, and about 8 MiB: where there
    /// are more, they may be fewer than was asked for. There are no more where there are none.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down.
    pub async fn events(
        &self,
        topic: &str,
        after: Option<&Place>,
        count: usize,
    ) -> Result<Vec<StoredEvent>> {
        let topic = TopicName::new(topic)?;
        let keys = self.all_there(&topic).await?.unwrap_or_default();
        let (mut events, mut after) = (Vec::new(), after.copied());
        // An empty page is the last one: one of entries that are no events is not.
        while events.is_empty() {
            let count = count.min(EVENTS_MAX);
            let store = &self.engine.backend;
            let page = page(store, &keys, Shelf::Events, after.as_ref(), count).await?;
            let Some((partition, last)) = page.last() else { break };
            after = Some(Place { partition: *partition, entry: last.id });
            events.extend(page.into_iter().filter_map(|(p, entry)| stored(&topic, p, entry)));
        }
        Ok(events)
    }

    /// Removes now what all groups have finished and what is older than the topic keeps it. Subscribers do so, too, every
    /// ten seconds.
    ///
    /// # Errors
    /// `Rejected` for a bad name, or dead letters; `Unavailable` or `Timeout` when Redis is down.
    pub async fn trim(&self, topic: &str) -> Result<Trimmed> {
        let topic = TopicName::new(topic)?;
        check_writable(&topic)?;
        let trimming = Trimming { keep_ms: None, forget_ms: None };
        let mut trimmed = Trimmed::default();
        for keys in self.all_there(&topic).await?.unwrap_or_default() {
            let one = self.engine.backend.trim(&keys, trimming).await?;
            trimmed.removed += one.removed;
            trimmed.held_by = trimmed.held_by.or(one.held_by);
            trimmed.forgotten.extend(one.forgotten);
        }
        trimmed.forgotten.sort_unstable();
        trimmed.forgotten.dedup();
        Ok(trimmed)
    }

    /// Moves a group: it handles again what comes after, and not what it had not finished before. Consumers go on from
    /// there. What is yet to come is not passed over: a time or a place ahead of all that is there is the end.
    ///
    /// *Cancellation*: some partitions may be moved.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down, and then some partitions may be moved.
    pub async fn seek(
        &self,
        topic: &str,
        group: &str,
        to: Seek,
        how: Force,
    ) -> Result<GroupChange> {
        let mut change = GroupChange::Unknown;
        for (keys, group) in self.all_of(topic, group).await? {
            let start = start_of(to, keys.partition());
            change = change.and(self.engine.backend.seek(&keys, &group, start, how).await?);
        }
        Ok(change)
    }

    /// Says that a group is not to be forgotten, where it is there: as if someone read it now, though no one does.
    ///
    /// *Cancellation*: it may be so in some partitions.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down, and then it may be so in some partitions.
    pub async fn keep_group(&self, topic: &str, group: &str) -> Result<()> {
        for (keys, group) in self.all_of(topic, group).await? {
            self.engine.backend.keep(&keys, &group).await?;
        }
        Ok(())
    }

    /// Removes a group, with all that it has not finished. Consumers that still live make it again, where it began.
    ///
    /// *Cancellation*: it may be gone in some partitions; remove it again.
    ///
    /// # Errors
    /// `Rejected` for a bad name; `Unavailable` or `Timeout` when Redis is down, and then it may be gone in some partitions.
    pub async fn forget_group(&self, topic: &str, group: &str, how: Force) -> Result<GroupChange> {
        let mut change = GroupChange::Unknown;
        for (keys, group) in self.all_of(topic, group).await? {
            change = change.and(self.engine.backend.forget(&keys, &group, how).await?);
        }
        Ok(change)
    }

    /// The partitions of a topic; nothing where it is not there.
    pub(super) async fn all_there(&self, topic: &TopicName) -> Result<Option<Vec<PartitionKeys>>> {
        let living = TopicName::new(topic.living())?;
        let first = self.scope.stream(&living, 0);
        let partitions = match self.engine.known(&first) {
            Some(partitions) => partitions,
            None => match self.engine.backend.partitions(&first).await? {
                Some(partitions) => partitions,
                None => return Ok(None),
            },
        };
        let partitions = 0..partitions.min(PARTITIONS_MAX);
        Ok(Some(partitions.map(|partition| self.scope.stream(topic, partition)).collect()))
    }

    async fn all_of(&self, topic: &str, group: &str) -> Result<Vec<(PartitionKeys, GroupKeys)>> {
        let (topic, group) = (TopicName::new(topic)?, GroupName::new(group)?);
        let keys = self.all_there(&topic).await?.unwrap_or_default();
        let with_group = |keys: PartitionKeys| {
            let group = keys.group(&group);
            (keys, group)
        };
        Ok(keys.into_iter().map(with_group).collect())
    }
}

fn start_of(to: Seek, partition: u16) -> Start {
    match to {
        Seek::Start => Start::First,
        Seek::End => Start::Next,
        Seek::Time(time) => {
            let ms = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis);
            Start::After(super::EntryId { ms, seq: 0 }.before())
        }
        Seek::Place(place) if place.partition == partition => Start::After(place.entry.before()),
        Seek::Place(place) => Start::After(super::EntryId { ms: place.entry.ms, seq: 0 }.before()),
    }
}

/// Nothing of an entry that is no event.
pub(super) fn stored(topic: &TopicName, partition: u16, entry: Entry) -> Option<StoredEvent> {
    let place = Place { partition, entry: entry.id };
    let event = Event::read(topic, place, entry.fields).ok()?;
    let redriven_to = event.field("for").map(str::to_owned);
    Some(StoredEvent { place, event, redriven_to })
}

fn topic_of(topic: &str, looks: Vec<PartitionLook>) -> TopicInfo {
    let declared = looks.first().map(|look| look.declared);
    let sum = |of: fn(&PartitionLook) -> u64| -> u64 { looks.iter().map(of).sum() };
    TopicInfo {
        topic: topic.to_owned(),
        partitions: declared.map_or(0, |declared| declared.partitions),
        len: sum(|look| look.len),
        len_max: declared.map_or(0, |declared| declared.len_max),
        keep: Duration::from_millis(declared.map_or(0, |declared| declared.keep_ms)),
        published: sum(|look| look.published),
        delayed: sum(|look| look.delayed),
        dead: sum(|look| look.dead),
        lost: sum(|look| look.lost),
        last_at: looks.iter().filter_map(|look| look.last).max().map(|last| at_ms(last.ms)),
        held_by: looks.iter().max_by_key(|look| look.len).and_then(|look| look.held_by.clone()),
        groups: groups_of(looks.into_iter().flat_map(|look| look.groups)),
    }
}

/// What a topic's dead letters are as a topic.
fn dead_of(topic: &str, living: &TopicInfo, groups: Vec<GroupLag>) -> TopicInfo {
    TopicInfo {
        topic: topic.to_owned(),
        partitions: living.partitions,
        len: living.dead,
        len_max: DEAD_LEN_MAX,
        keep: DEAD_KEEP,
        published: living.dead,
        delayed: 0,
        dead: 0,
        lost: 0,
        last_at: None,
        held_by: None,
        groups,
    }
}

fn groups_of(looks: impl Iterator<Item = GroupLook>) -> Vec<GroupLag> {
    let mut groups: BTreeMap<String, GroupLag> = BTreeMap::new();
    for look in looks {
        let oldest = look.oldest_ms.map(Duration::from_millis);
        let seen_at = look.seen_ms.map(at_ms);
        let Some(lag) = groups.get_mut(&look.name) else {
            let lag = GroupLag {
                group: look.name.clone(),
                mode: look.mode,
                waiting: look.waiting,
                held: look.held,
                orphaned: look.orphaned,
                parked: look.parked,
                dead: look.dead,
                consumers: look.consumers,
                oldest_unacked: oldest,
                seen_at,
                is_forgotten: look.is_forgotten,
            };
            groups.insert(look.name, lag);
            continue;
        };
        lag.waiting.n += look.waiting.n;
        lag.waiting.is_exact &= look.waiting.is_exact;
        lag.held += look.held;
        lag.orphaned += look.orphaned;
        lag.parked += look.parked;
        lag.dead += look.dead;
        // A consumer of an unordered group is in all partitions; an owner is of one.
        lag.consumers = match lag.mode {
            GroupMode::Any => lag.consumers.max(look.consumers),
            GroupMode::ByKey => lag.consumers + look.consumers,
        };
        lag.oldest_unacked = lag.oldest_unacked.max(oldest);
        lag.seen_at = lag.seen_at.max(seen_at);
        lag.is_forgotten &= look.is_forgotten;
    }
    groups.into_values().collect()
}

fn add_consumer(consumers: &mut BTreeMap<String, ConsumerInfo>, partition: u16, one: Consumer) {
    let info = consumers.entry(one.name).or_insert_with_key(|name| ConsumerInfo {
        name: shown(name),
        label: label_of(name).to_owned(),
        held: 0,
        lease_left: None,
        partitions: Vec::new(),
        oldest: None,
    });
    info.held += one.held;
    info.lease_left = info.lease_left.max(one.lease_left_ms.map(Duration::from_millis));
    info.partitions.extend(one.fence.map(|fence| (partition, Fence(fence))));
    let oldest = one.oldest.map(|entry| Place { partition, entry });
    let first = info.oldest.into_iter().chain(oldest);
    info.oldest = first.min_by_key(|place| (place.entry, place.partition));
}
