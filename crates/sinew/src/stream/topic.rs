//! Topics: how they are declared.

use std::time::Duration;

use super::Streams;
use super::backend::Backend as _;
use super::model::{Declared, TOPIC_LEN_MAX, check_partitions, millis};
use crate::kernel::error::{Error, Result};
use crate::kernel::key::PartitionKeys;
use crate::kernel::name::TopicName;

const KEEP_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// A topic being declared.
#[derive(Clone, Debug)]
#[must_use = "a topic is declared by declare()"]
pub struct TopicBuilder {
    streams: Streams,
    topic: String,
    partitions: Option<u16>,
    len_max: Option<u64>,
    keep: Option<Duration>,
}

/// A topic, as it was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// How many partitions it has.
    pub partitions: u16,
    /// How many events a partition has at most.
    pub len_max: u64,
    /// For how long events stay that all groups have finished.
    pub keep: Duration,
}

impl TopicBuilder {
    pub(super) fn new(streams: Streams, topic: &str) -> Self {
        Self { streams, topic: topic.to_owned(), partitions: None, len_max: None, keep: None }
    }

    /// How many partitions it has, for ever: 1 to 64. An ordered group has so many owners at most. 1 unless said.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// How many events a partition has at most: more are refused while a group has not finished the oldest. One to
    /// 100,000,000; a million unless said.
    pub fn len_max(mut self, events: u64) -> Self {
        self.len_max = Some(events);
        self
    }

    /// For how long events stay that all groups have finished: up to ten years, an hour unless said. They go at once
    /// where their room is needed.
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Declares the topic, or finds that it is there; then the bounds that are given become its own.
    ///
    /// *Cancellation*: some of its partitions may be declared; whoever publishes declares the others.
    ///
    /// # Errors
    /// `Misconfigured` where it has another number of partitions; `Rejected` for a bad name or setting;
    /// `Unavailable` or `Timeout` when Redis is down.
    pub async fn declare(self) -> Result<Topic> {
        let Self { streams, topic, partitions, len_max, keep } = self;
        let topic = TopicName::new(&topic)?;
        check_writable(&topic)?;
        check(partitions, len_max, keep)?;
        let declared = streams.declare(&topic, partitions, len_max, keep.map(millis)).await?;
        match partitions {
            Some(partitions) if partitions != declared.partitions => {
                Err(Error::misconfigured(format!(
                    "topic {} has {} partitions, and was declared with {partitions}: the number cannot be changed, since the order of events rests on it",
                    topic.as_str(),
                    declared.partitions
                )))
            }
            _ => Ok(Topic {
                partitions: declared.partitions,
                len_max: declared.len_max,
                keep: Duration::from_millis(declared.keep_ms),
            }),
        }
    }
}

impl Streams {
    /// Declares all partitions, as many as the first has.
    pub(super) async fn declare(
        &self,
        topic: &TopicName,
        partitions: Option<u16>,
        len_max: Option<u64>,
        keep_ms: Option<u64>,
    ) -> Result<Declared> {
        let (engine, scope) = (&self.engine, &self.scope);
        let first = scope.stream(topic, 0);
        let declared = engine.backend.declare(&first, partitions, len_max, keep_ms).await?;
        for partition in 1..declared.partitions {
            let keys = scope.stream(topic, partition);
            engine.backend.declare(&keys, Some(declared.partitions), len_max, keep_ms).await?;
        }
        if !engine.backend.note_topic(&scope.stream_topics(), topic.as_str()).await? {
            tracing::warn!(topic = topic.as_str(), "too many topics: this one is in no list");
        }
        engine.learn(&first, declared.partitions);
        Ok(declared)
    }

    /// How many partitions a topic has. One that is not there is declared with this many.
    pub(super) async fn partitions_or(&self, topic: &TopicName, partitions: u16) -> Result<u16> {
        let topic = TopicName::new(topic.living())?;
        match self.engine.known(&self.scope.stream(&topic, 0)) {
            Some(known) => Ok(known),
            None => Ok(self.declare(&topic, Some(partitions), None, None).await?.partitions),
        }
    }

    /// The first partitions of a topic, so many.
    pub(super) fn partitions(&self, topic: &TopicName, count: u16) -> Vec<PartitionKeys> {
        (0..count).map(|partition| self.scope.stream(topic, partition)).collect()
    }
}

/// Whether a topic may be called so that is published to: 1 to 128 of `[A-Za-z0-9._-]`, not only dots, and not the
/// dead letters of another, which end in `.dead`. Publishing looks itself: this is for finding out before.
///
/// # Errors
/// `Rejected` where it may not, with what was expected.
pub fn check_topic(topic: &str) -> Result<()> {
    check_writable(&TopicName::new(topic)?)
}

/// # Errors
/// `Rejected` for dead letters: they come of a topic.
pub(super) fn check_writable(topic: &TopicName) -> Result<()> {
    match topic.is_dead() {
        false => Ok(()),
        true => Err(Error::rejected(format!(
            "topic {} has the dead letters of another: expected one that is published to",
            topic.as_str()
        ))),
    }
}

fn check(partitions: Option<u16>, len_max: Option<u64>, keep: Option<Duration>) -> Result<()> {
    partitions.map_or(Ok(()), check_partitions)?;
    if let Some(len_max) = len_max
        && !(1..=TOPIC_LEN_MAX).contains(&len_max)
    {
        return Err(Error::rejected(format!(
            "a topic of {len_max} events is out of bounds: expected 1 to {TOPIC_LEN_MAX}"
        )));
    }
    match keep {
        Some(keep) if keep > KEEP_MAX => Err(Error::rejected(format!(
            "events kept for {keep:?} are out of bounds: expected ten years at most"
        ))),
        _ => Ok(()),
    }
}
