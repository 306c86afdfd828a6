//! Publishing one event.

use std::fmt;
use std::future::IntoFuture;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use super::Streams;
use super::backend::Backend as _;
use super::event::{NewEvent, at_ms};
use super::model::{
    DEDUP_DEFAULT, DEDUP_MAX, DELAY_MAX, Dedup, LATER_MAX, LOOKS_MAX, Outgoing, Place, Written,
    Wrote, millis, partition_of,
};
use super::topic::check_writable;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::name::TopicName;
use crate::kernel::telemetry;

/// What came of an event that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is there.
    Done(Place),
    /// One with its dedup id was published before: there, unless that one is delayed.
    Duplicate(Option<Place>),
    /// It will be there.
    Later {
        /// When, by the store's clock.
        due: SystemTime,
    },
}

impl Published {
    /// Where the event is, if it is anywhere yet.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Done(place) => Some(place),
            Self::Duplicate(place) => place.as_ref(),
            Self::Later { .. } => None,
        }
    }

    fn new(partition: u16, wrote: Wrote) -> Self {
        let place = |entry| Place { partition, entry };
        match wrote {
            Wrote::Entry(entry) => Self::Done(place(entry)),
            Wrote::Duplicate(entry) => Self::Duplicate(entry.map(place)),
            Wrote::Later { due_ms } => Self::Later { due: at_ms(due_ms) },
        }
    }
}

/// An event on its way; see [`Streams::publish`].
#[must_use = "an event is published when this is awaited"]
pub struct Publish {
    streams: Streams,
    topic: String,
    event: Result<NewEvent>,
    dedup_for: Duration,
}

impl Publish {
    pub(super) fn new(streams: Streams, topic: &str, event: Result<NewEvent>) -> Self {
        Self { streams, topic: topic.to_owned(), event, dedup_for: DEDUP_DEFAULT }
    }

    fn set(mut self, set: impl FnOnce(&mut NewEvent)) -> Self {
        if let Ok(event) = &mut self.event {
            set(event);
        }
        self
    }

    /// Events with one key go to one partition, in their order.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.set(|event| event.key = Some(key.into()))
    }

    /// Of events with one such id, only the first counts. With one, a publish whose reply is lost is sent again.
    pub fn dedup(self, id: impl Into<String>) -> Self {
        self.set(|event| event.dedup = Some(id.into()))
    }

    /// For how long the dedup id counts: up to 7 days, 10 minutes unless said.
    pub fn dedup_for(mut self, window: Duration) -> Self {
        self.dedup_for = window;
        self
    }

    /// It is to come so much later: up to 365 days.
    pub fn delay(self, delay: Duration) -> Self {
        self.set(|event| event.delay = Some(delay))
    }

    /// The type of event; the topic's name unless said.
    pub fn kind(self, kind: &str) -> Self {
        self.set(|event| event.kind = Some(kind.to_owned()))
    }

    /// Where it happened, as a URI; the topic unless said.
    pub fn source(self, source: &str) -> Self {
        self.set(|event| event.source = Some(source.to_owned()))
    }

    /// The span that publishes it, of W3C's Trace Context.
    pub fn traceparent(self, traceparent: &str) -> Self {
        self.set(|event| event.traceparent = Some(traceparent.to_owned()))
    }

    /// Another attribute: a CloudEvent's extension.
    pub fn attribute(self, name: &str, value: impl Into<String>) -> Self {
        self.set(|event| {
            event.extensions.insert(name.to_owned(), value.into());
        })
    }
}

impl IntoFuture for Publish {
    type Output = Result<Published>;
    type IntoFuture = BoxFuture<'static, Result<Published>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { streams, topic, event, dedup_for } = self;
        Box::pin(async move { streams.send(&topic, event?, dedup_for).await })
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// An event that was looked at, and has no partition yet.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) outgoing: Outgoing,
    pub(super) key: Option<String>,
    dedup: Option<(String, u64)>,
}

impl Ready {
    /// Where it goes. What is one event by its dedup id goes to one partition.
    pub(super) fn partition(&self, partitions: u16, any: u16) -> u16 {
        match (&self.key, &self.dedup) {
            _ if partitions <= 1 => 0,
            (Some(key), _) => partition_of(key, partitions),
            (None, Some((id, _))) => partition_of(id, partitions),
            (None, None) => any % partitions,
        }
    }
}

impl Streams {
    /// # Errors
    /// `Rejected` for what may not be published.
    pub(super) fn prepare(&self, mut event: NewEvent, dedup_for: Duration) -> Result<Ready> {
        if dedup_for.is_zero() || dedup_for > DEDUP_MAX {
            return Err(Error::rejected(format!(
                "a dedup id that counts for {dedup_for:?} is out of bounds: expected up to 7 days"
            )));
        }
        let delay = event.delay.take().unwrap_or_default();
        if delay > DELAY_MAX {
            return Err(Error::rejected(format!(
                "a delay of {delay:?} is out of bounds: expected 365 days at most"
            )));
        }
        let dedup = event.dedup.take().map(|id| (id, millis(dedup_for).max(1)));
        let key = event.key.clone();
        let fields = event.into_fields(self.engine.value_len_max)?;
        let outgoing = Outgoing { fields, dedup: None, delay_ms: millis(delay) };
        Ok(Ready { outgoing, key, dedup })
    }

    async fn send(&self, topic: &str, event: NewEvent, dedup_for: Duration) -> Result<Published> {
        let topic = TopicName::new(topic)?;
        check_writable(&topic)?;
        let ready = self.prepare(event, dedup_for)?;
        let any = fastrand::u16(..);
        for _ in 0..LOOKS_MAX {
            let partitions = self.partitions_or(&topic, 1).await?;
            let partition = ready.partition(partitions, any);
            let sent = self.write(&topic, partitions, partition, vec![ready.clone()]).await?;
            if let Some(published) = sent.and_then(|sent| sent.into_iter().next()) {
                return Ok(published);
            }
        }
        Err(keeps_changing(&topic))
    }

    /// Publishes an event with all that a CloudEvent has.
    ///
    /// *Cancellation*: it is published or not.
    ///
    /// # Errors
    /// As [`Streams::publish`].
    pub async fn publish_event(&self, topic: &str, event: NewEvent) -> Result<Published> {
        self.send(topic, event, DEDUP_DEFAULT).await
    }

    /// Writes events to one partition, all or none; nothing where the topic turns out to have another number of
    /// partitions, which is known then.
    pub(super) async fn write(
        &self,
        topic: &TopicName,
        partitions: u16,
        partition: u16,
        events: Vec<Ready>,
    ) -> Result<Option<Vec<Published>>> {
        let (keys, count) = (self.scope.stream(topic, partition), events.len() as u64);
        let mut outgoing = Vec::with_capacity(events.len());
        for Ready { outgoing: mut one, dedup, .. } in events {
            if let Some((id, window_ms)) = dedup {
                one.dedup = Some(Dedup { key: keys.dup(&id)?, window_ms });
            }
            outgoing.push(one);
        }
        let soonest_ms = outgoing.iter().map(|one| one.delay_ms).filter(|ms| *ms > 0).min();
        let written = self.engine.backend.publish(&keys, partitions, outgoing).await;
        let first = || self.scope.stream(topic, 0);
        match written {
            Ok(Written::Done(wrote)) => {
                if let Some(delay_ms) = soonest_ms {
                    self.engine.timers.set(&self.engine, &keys, Duration::from_millis(delay_ms));
                }
                count_wrote(topic, &wrote);
                let published = wrote.into_iter().map(|wrote| Published::new(partition, wrote));
                Ok(Some(published.collect()))
            }
            Ok(Written::OtherPartitions(partitions)) => {
                self.engine.learn(&first(), partitions);
                Ok(None)
            }
            // The store was flushed, say: it is declared again by whoever asks next.
            Ok(Written::NotDeclared) => {
                self.engine.forget(&first());
                self.declare(topic, Some(partitions), None, None).await?;
                Ok(None)
            }
            Ok(Written::Full { len, len_max, held_by }) => {
                count_published(topic, "full", count);
                // All or none: these would never have room together.
                Err(match count > len_max {
                    true => too_many(topic, count, len_max),
                    false => full(topic, len, len_max, held_by.as_deref()),
                })
            }
            Ok(Written::TooManyLater) => {
                count_published(topic, "full", count);
                Err(Error::new(
                    ErrorKind::Unavailable { maybe_applied: false },
                    format!(
                        "topic {} has as many delayed events as it may: {LATER_MAX} a partition",
                        topic.as_str()
                    ),
                ))
            }
            Err(error) => {
                count_published(topic, "error", count);
                Err(error)
            }
        }
    }
}

fn full(topic: &TopicName, len: u64, len_max: u64, held_by: Option<&str>) -> Error {
    let whose = match held_by {
        Some(group) => format!("group {group} has not finished the oldest"),
        None => "no group reads it".to_owned(),
    };
    Error::new(
        ErrorKind::Unavailable { maybe_applied: false },
        format!("topic {} is full: {len} events of {len_max}, and {whose}", topic.as_str()),
    )
}

fn too_many(topic: &TopicName, count: u64, len_max: u64) -> Error {
    Error::rejected(format!(
        "{count} events at once are more than a partition of topic {} may have: expected at most {len_max}",
        topic.as_str()
    ))
}

pub(super) fn keeps_changing(topic: &TopicName) -> Error {
    Error::new(
        ErrorKind::Unavailable { maybe_applied: false },
        format!("topic {} is being declared anew again and again", topic.as_str()),
    )
}

fn count_wrote(topic: &TopicName, wrote: &[Wrote]) {
    let of = |is: fn(&Wrote) -> bool| wrote.iter().filter(|one| is(one)).count() as u64;
    count_published(topic, "done", of(|one| matches!(one, Wrote::Entry(_))));
    count_published(topic, "duplicate", of(|one| matches!(one, Wrote::Duplicate(_))));
    count_published(topic, "later", of(|one| matches!(one, Wrote::Later { .. })));
}

fn count_published(topic: &TopicName, outcome: &'static str, events: u64) {
    if events > 0 {
        let topic = topic.as_str().to_owned();
        metrics::counter!(telemetry::STREAM_PUBLISHED, "topic" => topic, "outcome" => outcome)
            .increment(events);
    }
}
