//! What the steps of a store are told, and what they answer.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::{Entry, EntryId, Fields};
use crate::kernel::error::{Error, Result};
use crate::kernel::name::TopicName;

/// An event to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Outgoing {
    pub(in crate::stream) fields: Fields,
    pub(in crate::stream) dedup: Option<Dedup>,
    pub(in crate::stream) delay_ms: u64,
}

/// What makes two events one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Dedup {
    /// A whole key: [`PartitionKeys::dup`](crate::kernel::key::PartitionKeys::dup).
    pub(in crate::stream) key: String,
    pub(in crate::stream) window_ms: u64,
}

/// What came of events that were to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Written {
    /// Of each, in their order.
    Done(Vec<Wrote>),
    /// The topic has another number of partitions.
    OtherPartitions(u16),
    NotDeclared,
    Full {
        len: u64,
        len_max: u64,
        /// The group for which most is kept.
        held_by: Option<String>,
    },
    /// Too many wait for their time.
    TooManyLater,
}

/// What came of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Wrote {
    Entry(EntryId),
    /// It was there; nothing where the first one waits for its time.
    Duplicate(Option<EntryId>),
    Later {
        due_ms: u64,
    },
}

/// A partition, as it was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Declared {
    pub(in crate::stream) partitions: u16,
    pub(in crate::stream) len_max: u64,
    pub(in crate::stream) keep_ms: u64,
}

/// How many delayed events were written, and when the next is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Promoted {
    pub(in crate::stream) promoted: u64,
    pub(in crate::stream) next_later_ms: Option<u64>,
}

/// How a group's events are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupMode {
    /// Each goes to any consumer.
    Any,
    /// Each partition has one consumer at a time, and one key's events run in their order.
    ByKey,
}

impl GroupMode {
    /// As it is stored, and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ByKey => "key",
        }
    }

    pub(in crate::stream) fn named(name: &str) -> Option<Self> {
        [Self::Any, Self::ByKey].into_iter().find(|mode| mode.name() == name)
    }
}

/// Where a group begins, or goes on: after this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Start {
    /// With the first entry.
    First,
    /// With what comes from now on.
    Next,
    After(EntryId),
}

/// Up to where a group has finished everything. As text `=id` and `<id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Checkpoint {
    UpTo(EntryId),
    Below(EntryId),
}

impl Checkpoint {
    /// The entry that has to be there for it to count.
    pub(in crate::stream) fn probe(self) -> EntryId {
        match self {
            Self::UpTo(id) | Self::Below(id) => id,
        }
    }

    /// The last entry that is finished by it.
    pub(in crate::stream) fn last_done(self) -> EntryId {
        match self {
            Self::UpTo(id) => id,
            Self::Below(id) => id.before(),
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UpTo(id) => write!(f, "={id}"),
            Self::Below(id) => write!(f, "<{id}"),
        }
    }
}

impl FromStr for Checkpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_at_checked(1) {
            Some(("=", id)) => id.parse().map(Self::UpTo),
            Some(("<", id)) => id.parse().map(Self::Below),
            _ => Err(Error::corrupt("not a checkpoint: expected = or <, and an entry")),
        }
    }
}

/// Who joins a group, and how.
#[derive(Clone, Copy, Debug)]
pub(in crate::stream) struct Joining<'a> {
    pub(in crate::stream) who: &'a str,
    pub(in crate::stream) lease_ms: u64,
    pub(in crate::stream) mode: GroupMode,
    /// Where it begins, if it is new and there is no checkpoint.
    pub(in crate::stream) start: Start,
    /// After how long a group is forgotten; nothing leaves it as it is.
    pub(in crate::stream) forget_ms: Option<u64>,
    /// The newest first. With some and none that counts, it begins with the first entry.
    pub(in crate::stream) checkpoints: &'a [Checkpoint],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Joined {
    Done {
        now_ms: u64,
        made: Made,
        /// Of the checkpoint that counted.
        from: Option<EntryId>,
        /// The stream's last entry when people had the group go elsewhere; later each time.
        sought: Option<EntryId>,
        /// When the group was made, in µs: one that is made again has another.
        born_us: u64,
        /// The last id that the stream has given.
        last: EntryId,
    },
    /// Members that live share its events another way.
    OtherMode(GroupMode),
}

/// What was done to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Made {
    Nothing,
    New,
    MovedForward,
}

/// Whose entries they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Who {
    Consumer(Arc<str>),
    /// The owner of a partition.
    Fence(u64),
}

/// A consumer that says it lives.
#[derive(Clone, Copy, Debug)]
pub(in crate::stream) struct Ticking<'a> {
    pub(in crate::stream) consumer: &'a str,
    pub(in crate::stream) lease_ms: u64,
    pub(in crate::stream) grace_ms: u64,
    pub(in crate::stream) whom: Whom,
}

/// Among whom those who have fallen are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Whom {
    Members,
    /// Also consumers that others made, and parked entries that no one has a time for.
    Everyone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Tick {
    Kept(Ticked),
    /// It was taken for dead; of an owner: another has the partition.
    Fallen,
    NoGroup,
}

/// How it stands with a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::stream) struct Ticked {
    pub(in crate::stream) now_ms: u64,
    pub(in crate::stream) checkpoint: Option<Checkpoint>,
    /// How many entries the store says are this consumer's; 0 of an owner.
    pub(in crate::stream) mine: u64,
    pub(in crate::stream) pending: u64,
    pub(in crate::stream) next_due_ms: Option<u64>,
    pub(in crate::stream) next_later_ms: Option<u64>,
    /// One whose entries are to be claimed.
    pub(in crate::stream) fallen: Option<String>,
    /// The age of the oldest event that is not finished.
    pub(in crate::stream) oldest_ms: Option<u64>,
    /// The stream's last entry when people had the group go elsewhere; later each time.
    pub(in crate::stream) sought: Option<EntryId>,
    /// When the group was made, in µs.
    pub(in crate::stream) born_us: u64,
}

/// An answer, or that the group is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Reply<T> {
    Ok(T),
    NoGroup,
}

/// Entries that are the caller's now, and those that were deleted before they were finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::stream) struct Taken {
    pub(in crate::stream) entries: Vec<Entry>,
    pub(in crate::stream) lost: Vec<EntryId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Claim {
    Took {
        taken: Taken,
        has_more: bool,
    },
    /// That one lives, or the caller has fallen.
    Refused,
    NoGroup,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Due {
    Took {
        taken: Taken,
        next_due_ms: Option<u64>,
        next_later_ms: Option<u64>,
    },
    /// The caller's lease is over: tick first.
    Refused,
    NoGroup,
}

/// How many entries were done with, and which were no longer the caller's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::stream) struct Settlement {
    pub(in crate::stream) done: u64,
    pub(in crate::stream) lost: Vec<EntryId>,
}

/// An entry to be tried later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Parking {
    pub(in crate::stream) id: EntryId,
    pub(in crate::stream) delay_ms: u64,
    /// Nothing leaves what is noted.
    pub(in crate::stream) note: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Bury {
    Done,
    /// It is no longer the caller's.
    NotOwn,
    /// It was deleted meanwhile.
    Deleted,
    /// There are too many dead letters.
    Full,
    NoGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Left {
    /// It has more to give back.
    More,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Take {
    Got {
        fence: u64,
        pending: u64,
        /// What consumers of another mode still have: take it again.
        strangers_left: u64,
    },
    /// By another.
    Held,
    NoGroup,
}

/// What a partition's owner reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum ReadFrom {
    New,
    /// What is pending after this.
    PendingAfter(EntryId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Read {
    Got(Taken),
    /// Another has the partition.
    Fenced,
    NoGroup,
}

/// What a reader has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Next {
    /// With their partitions.
    Got(Vec<(u16, Entry)>),
    Nothing,
    NoGroup,
    /// Its connection was made anew: what the one before was given is to be recovered.
    Reopened,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Trimming {
    /// For how long finished entries stay; nothing for what was declared.
    pub(in crate::stream) keep_ms: Option<u64>,
    /// After how long a group is forgotten; nothing for what those who read have said.
    pub(in crate::stream) forget_ms: Option<u64>,
}

impl Trimming {
    /// Whoever reads dead letters has not finished with them: they go by their age alone.
    pub(in crate::stream) fn of(self, topic: &TopicName) -> Self {
        match topic.is_dead() {
            true => Self { keep_ms: Some(u64::MAX), ..self },
            false => self,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::stream) struct Trim {
    pub(in crate::stream) removed: u64,
    pub(in crate::stream) floor: Option<EntryId>,
    /// The group for which most is kept.
    pub(in crate::stream) held_by: Option<String>,
    /// Groups that no one has read for so long that they keep nothing.
    pub(in crate::stream) forgotten: Vec<String>,
}

/// What is looked at of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Span {
    All,
    After(EntryId),
    One(EntryId),
    /// The newest one.
    Last,
}

/// A partition in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct PartitionLook {
    pub(in crate::stream) now_ms: u64,
    pub(in crate::stream) declared: Declared,
    pub(in crate::stream) len: u64,
    /// Since its log was made.
    pub(in crate::stream) published: u64,
    pub(in crate::stream) delayed: u64,
    /// Dead letters that are there.
    pub(in crate::stream) dead: u64,
    pub(in crate::stream) lost: u64,
    pub(in crate::stream) last: Option<EntryId>,
    pub(in crate::stream) held_by: Option<String>,
    pub(in crate::stream) groups: Vec<GroupLook>,
}

/// A group in one partition, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct GroupLook {
    pub(in crate::stream) name: String,
    /// `Any` where others made it.
    pub(in crate::stream) mode: GroupMode,
    pub(in crate::stream) waiting: Count,
    /// Entries that consumers have, those that are parked left out.
    pub(in crate::stream) held: u64,
    pub(in crate::stream) parked: u64,
    /// Of the first [`DEAD_LOOK_MAX`] dead letters.
    pub(in crate::stream) dead: u64,
    /// Members whose lease is not over; of an ordered group: one where it has an owner.
    pub(in crate::stream) consumers: u32,
    pub(in crate::stream) oldest_ms: Option<u64>,
    pub(in crate::stream) seen_ms: Option<u64>,
    pub(in crate::stream) is_forgotten: bool,
    /// Of those that are held: under a lease that is over.
    pub(in crate::stream) orphaned: u64,
}

impl GroupLook {
    /// Entries that it has not finished: about so many, where [`GroupLook::waiting`] is not exact.
    pub(in crate::stream) fn unfinished(&self) -> u64 {
        self.waiting.n + self.held + self.parked
    }
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The number.
    pub n: u64,
    /// Otherwise there are about so many: more than were counted.
    pub is_exact: bool,
}

/// A consumer of a group in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) struct Consumer {
    pub(in crate::stream) name: String,
    pub(in crate::stream) held: u64,
    /// Nothing of one that others made.
    pub(in crate::stream) lease_left_ms: Option<u64>,
    pub(in crate::stream) oldest: Option<EntryId>,
    /// Of the owner of a partition.
    pub(in crate::stream) fence: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Redriven {
    Done(u64),
    /// There is no room in the topic.
    Full,
}

/// Whether a group is moved or removed although consumers have events of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Only if none have.
    No,
    /// They are taken from them.
    Yes,
}

/// What came of moving or removing a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// It is moved, or nothing of it is left.
    Done,
    /// So many events are under a lease of its consumers, and it was not to be forced. Where that is so in some
    /// partitions only, it was done in the others.
    Pending(u64),
    /// There is no such group.
    Unknown,
}

impl GroupChange {
    /// What came of it in these partitions, and in those.
    pub(in crate::stream) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Pending(these), Self::Pending(those)) => Self::Pending(these + those),
            (Self::Pending(events), _) | (_, Self::Pending(events)) => Self::Pending(events),
            (Self::Done, _) | (_, Self::Done) => Self::Done,
            (Self::Unknown, Self::Unknown) => Self::Unknown,
        }
    }
}
