//! What is said of streams: the replies of the hub, which commands read again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use sinew::stream::{
    ConsumerInfo, DeadGroup, DeadLetter, GroupLag, Published, PulledEvent, StoredEvent, TopicInfo,
};
use utoipa::ToSchema;

/// A topic, and what its groups have done.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct TopicBody {
    #[schema(example = "orders")]
    pub(crate) topic: String,
    pub(crate) partitions: u16,
    /// How many events it has, those that every group has finished included
    pub(crate) len: u64,
    /// How many each partition may have
    pub(crate) len_max: u64,
    /// For how long an event stays that every group has finished
    #[schema(example = "1h")]
    pub(crate) keep: String,
    /// How many were published ever
    pub(crate) published: u64,
    /// How many wait for their time
    pub(crate) delayed: u64,
    /// Dead letters of all groups
    pub(crate) dead: u64,
    /// How many were deleted by others before every group had finished them
    pub(crate) lost: u64,
    /// When the last one was published (RFC 3339)
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_at: Option<Timestamp>,
    /// The group that keeps most of them from being trimmed
    pub(crate) held_by: Option<String>,
    pub(crate) groups: Vec<GroupBody>,
}

impl From<TopicInfo> for TopicBody {
    fn from(info: TopicInfo) -> Self {
        Self {
            topic: info.topic,
            partitions: info.partitions,
            len: info.len,
            len_max: info.len_max,
            keep: crate::duration::written(info.keep),
            published: info.published,
            delayed: info.delayed,
            dead: info.dead,
            lost: info.lost,
            last_at: info.last_at.map(time),
            held_by: info.held_by,
            groups: info.groups.into_iter().map(GroupBody::from).collect(),
        }
    }
}

/// A group of a topic.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct GroupBody {
    #[schema(example = "billing")]
    pub(crate) group: String,
    /// `any`: whoever is free takes the next event; `key`: events of one key in their order
    pub(crate) mode: String,
    /// Events that no one of it has taken yet
    pub(crate) waiting: u64,
    /// `false`: there are about as many
    pub(crate) waiting_is_exact: bool,
    /// Events that its consumers have taken and not finished
    pub(crate) held: u64,
    /// Of those, how many are under a lease that is over: they are for whoever asks next
    pub(crate) orphaned: u64,
    /// Events that wait for their next attempt
    pub(crate) parked: u64,
    /// Its dead letters
    pub(crate) dead: u64,
    pub(crate) consumers_len: u32,
    /// Of one group: each of its consumers
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consumers: Option<Vec<ConsumerBody>>,
    /// How old the oldest event is that it has not finished
    pub(crate) oldest_unacked_ms: Option<u64>,
    /// When one of its consumers was last heard of (RFC 3339)
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) seen_at: Option<Timestamp>,
    /// Not heard of for so long that it keeps nothing from being trimmed
    pub(crate) is_forgotten: bool,
}

impl From<GroupLag> for GroupBody {
    fn from(lag: GroupLag) -> Self {
        Self {
            group: lag.group,
            mode: lag.mode.name().to_owned(),
            waiting: lag.waiting.n,
            waiting_is_exact: lag.waiting.is_exact,
            held: lag.held,
            orphaned: lag.orphaned,
            parked: lag.parked,
            dead: lag.dead,
            consumers_len: lag.consumers,
            consumers: None,
            oldest_unacked_ms: lag.oldest_unacked.map(millis),
            seen_at: lag.seen_at.map(time),
            is_forgotten: lag.is_forgotten,
        }
    }
}

impl GroupBody {
    /// What it has not finished.
    pub(crate) fn unfinished(&self) -> u64 {
        self.waiting.saturating_add(self.held).saturating_add(self.parked)
    }

    /// What consumers have who live.
    pub(crate) fn leased(&self) -> u64 {
        self.held.saturating_sub(self.orphaned)
    }
}

/// A consumer of a group.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConsumerBody {
    pub(crate) name: String,
    /// As it calls itself
    pub(crate) label: String,
    pub(crate) held: u64,
    /// How long it has unless it is heard of: 0 where its lease is over; null of one that Sinew did not make
    pub(crate) lease_left_ms: Option<u64>,
    /// Those that are its own, where the group keeps the order of keys
    pub(crate) partitions: Vec<u16>,
}

impl From<ConsumerInfo> for ConsumerBody {
    fn from(info: ConsumerInfo) -> Self {
        Self {
            name: info.name,
            label: info.label,
            held: info.held,
            lease_left_ms: info.lease_left.map(millis),
            partitions: info.partitions.into_iter().map(|(partition, _)| partition).collect(),
        }
    }
}

/// An event as CloudEvents 1.0 has it, in JSON, and its place.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Object, example = json!({"specversion": "1.0", "id": "3:1795316265410-0", "type": "OrderPlaced", "place": "3:1795316265410-0", "data": {"order": 7}}))]
pub(crate) struct EventBody(BTreeMap<String, Box<RawValue>>);

impl EventBody {
    /// # Errors
    /// Where an event has no JSON, which the library rules out.
    pub(crate) fn of(stored: &StoredEvent) -> serde_json::Result<Self> {
        let mut attributes: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(&stored.event.to_cloud_json())?;
        attributes.insert("place".to_owned(), to_raw_value(&stored.place.to_string())?);
        if let Some(group) = &stored.redriven_to {
            attributes.insert("redrivento".to_owned(), to_raw_value(group)?);
        }
        Ok(Self(attributes))
    }
}

/// Some events, the oldest first.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct EventsBody {
    pub(crate) events: Vec<EventBody>,
    /// Where the next ones begin, if there are any: as `after`. None on the page after the last
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// What became of what was published.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct PublishedBody {
    /// In the order in which they were sent
    pub(crate) events: Vec<PublishedEventBody>,
}

/// What became of an event that was published.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct PublishedEventBody {
    /// Null where it is delayed
    #[schema(example = "3:1795316265410-0")]
    pub(crate) place: Option<String>,
    /// As it was sent, or its place. Null where it has none and is delayed
    pub(crate) id: Option<String>,
    /// It was published before: nothing was done
    pub(crate) duplicate: bool,
    /// When it is to come (RFC 3339)
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) due: Option<Timestamp>,
}

impl PublishedEventBody {
    pub(crate) fn new(id: Option<String>, published: &Published) -> Self {
        let (place, duplicate, due) = match published {
            Published::Done(place) => (Some(place.to_string()), false, None),
            Published::Duplicate(place) => (place.as_ref().map(ToString::to_string), true, None),
            Published::Later { due } => (None, false, Some(time(*due))),
        };
        Self { id: id.or_else(|| place.clone()), place, duplicate, due }
    }
}

/// An event that was pulled.
#[derive(Serialize, ToSchema)]
pub(crate) struct PulledEventBody {
    pub(crate) place: String,
    /// 1 at first
    pub(crate) attempt: u32,
    /// As CloudEvents 1.0 has it
    #[schema(value_type = Object)]
    pub(crate) event: Box<RawValue>,
}

impl PulledEventBody {
    /// # Errors
    /// As [`EventBody::of`].
    pub(crate) fn of(pulled: &PulledEvent) -> serde_json::Result<Self> {
        Ok(Self {
            place: pulled.event.place().to_string(),
            attempt: pulled.attempt,
            event: serde_json::from_slice(&pulled.event.to_cloud_json())?,
        })
    }
}

/// An event that a group has given up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LetterBody {
    /// Among the dead letters
    pub(crate) place: String,
    /// In the topic
    pub(crate) original: String,
    pub(crate) group: String,
    pub(crate) reason: String,
    /// How often it was tried
    pub(crate) attempts: u32,
    /// How often a process ended over it
    pub(crate) crashes: u32,
    /// The last failures, the newest last
    pub(crate) errors: Vec<FailureBody>,
    /// When it was tried first (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    pub(crate) first_at: Timestamp,
    /// When it was given up (RFC 3339)
    #[schema(value_type = String, format = DateTime)]
    pub(crate) dead_at: Timestamp,
    /// As CloudEvents 1.0 has it
    #[schema(value_type = Object)]
    pub(crate) event: Box<RawValue>,
}

/// A failure of a handler.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FailureBody {
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: Timestamp,
    pub(crate) error: String,
}

impl LetterBody {
    /// # Errors
    /// As [`EventBody::of`].
    pub(crate) fn of(letter: DeadLetter) -> serde_json::Result<Self> {
        let failure = |(at, error)| FailureBody { at: time(at), error };
        Ok(Self {
            place: letter.place.to_string(),
            original: letter.original.to_string(),
            group: letter.group,
            reason: letter.reason,
            attempts: letter.attempts,
            crashes: letter.crashes,
            errors: letter.errors.into_iter().map(failure).collect(),
            first_at: time(letter.first_at),
            dead_at: time(letter.dead_at),
            event: serde_json::from_slice(&letter.event.to_cloud_json())?,
        })
    }
}

/// Some dead letters of a group, the oldest first.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct LettersBody {
    pub(crate) letters: Vec<LetterBody>,
    /// Where the next ones begin, if there are any: as `after`. None on the page after the last
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

/// The dead letters of a group that were given up for one reason.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ReasonBody {
    /// Without its numbers and what is quoted in it
    pub(crate) reason: String,
    pub(crate) count: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) first: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) last: Timestamp,
    /// The place of one of them
    pub(crate) example: String,
}

impl From<DeadGroup> for ReasonBody {
    fn from(group: DeadGroup) -> Self {
        Self {
            reason: group.reason,
            count: group.count,
            first: time(group.first),
            last: time(group.last),
            example: group.example.to_string(),
        }
    }
}

/// How many letters went back to their group.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct RedrivenBody {
    pub(crate) redriven: u64,
}

/// How many letters were removed.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct RemovedBody {
    pub(crate) removed: u64,
}

/// What a trim has done.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct TrimmedBody {
    pub(crate) removed: u64,
    /// The group for which the rest is kept
    pub(crate) held_by: Option<String>,
}

pub(crate) fn time(time: SystemTime) -> Timestamp {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    // As precise as anyone needs it.
    time.round(jiff::Unit::Millisecond).unwrap_or(time)
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
