//! Publishing many events.

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;

use super::Streams;
use super::event::NewEvent;
use super::model::{BATCH_LEN_MAX, BATCH_MAX, BATCHES_MAX, DEDUP_DEFAULT, LOOKS_MAX, fields_len};
use super::publish::{Published, Ready, keeps_changing};
use super::topic::check_writable;
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::name::TopicName;

/// Events on their way; see [`Streams::publish_many`].
#[must_use = "events are published when this is awaited"]
pub struct PublishMany<T> {
    streams: Streams,
    topic: String,
    data: Vec<T>,
    events: Result<Vec<NewEvent>>,
}

impl<T: Serialize> PublishMany<T> {
    pub(super) fn new(streams: Streams, topic: &str, data: Vec<T>) -> Self {
        let events = data.iter().map(NewEvent::json).collect();
        Self { streams, topic: topic.to_owned(), data, events }
    }

    fn set(mut self, set: impl Fn(&mut NewEvent, &T)) -> Self {
        if let Ok(events) = &mut self.events {
            events.iter_mut().zip(&self.data).for_each(|(event, data)| set(event, data));
        }
        self
    }

    /// Those with one key go to one partition, in their order.
    pub fn key(self, key: impl Fn(&T) -> String) -> Self {
        self.set(|event, data| event.key = Some(key(data)))
    }

    /// Of events with one such id, only the first counts for ten minutes.
    pub fn dedup(self, id: impl Fn(&T) -> String) -> Self {
        self.set(|event, data| event.dedup = Some(id(data)))
    }

    /// The type of these events; the topic's name unless said.
    pub fn kind(self, kind: &str) -> Self {
        self.set(|event, _| event.kind = Some(kind.to_owned()))
    }
}

impl<T> IntoFuture for PublishMany<T> {
    type Output = Result<Vec<Published>>;
    type IntoFuture = BoxFuture<'static, Result<Vec<Published>>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { streams, topic, events, .. } = self;
        Box::pin(async move { streams.publish_events(&topic, events?).await })
    }
}

impl<T> fmt::Debug for PublishMany<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishMany").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// An event, and which it is among all.
type Numbered = (usize, Ready);

/// Events of one partition, a call each, one after the other.
struct Lane {
    partition: u16,
    calls: Vec<Vec<Numbered>>,
}

/// What came of a lane.
struct Sent {
    published: Vec<(usize, Published)>,
    /// What was not sent, since there are other partitions.
    left: Vec<Numbered>,
    failed: Option<Error>,
}

impl Streams {
    /// Publishes events, those of one key in their order.
    ///
    /// *Cancellation*: some of them may be published, in runs of 128 at most.
    ///
    /// # Errors
    /// As [`Streams::publish`]; then some of them may be published, and `maybe_applied` says so where the error is one
    /// of Redis's.
    pub async fn publish_events(
        &self,
        topic: &str,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Published>> {
        let topic = TopicName::new(topic)?;
        check_writable(&topic)?;
        let mut published: Vec<Option<Published>> = vec![None; events.len()];
        let ready = events.into_iter().map(|event| self.prepare(event, DEDUP_DEFAULT));
        let mut left: Vec<Numbered> =
            ready.collect::<Result<Vec<_>>>()?.into_iter().enumerate().collect();
        for _ in 0..LOOKS_MAX {
            if left.is_empty() {
                break;
            }
            let partitions = self.partitions_or(&topic, 1).await?;
            let (is_over, mut failed) = (AtomicBool::new(false), None::<Error>);
            let sends = lanes(std::mem::take(&mut left), partitions)
                .into_iter()
                .map(|lane| self.send_lane(&topic, partitions, lane, &is_over));
            let mut sends = stream::iter(sends).buffer_unordered(BATCHES_MAX);
            // After a failure nothing more is begun; what is under way is waited for, to know whether it is there.
            while let Some(sent) = sends.next().await {
                for (at, one) in sent.published {
                    published[at] = Some(one);
                }
                left.extend(sent.left);
                if let Some(error) = sent.failed
                    && failed.as_ref().is_none_or(|first| !first.maybe_applied())
                {
                    failed = Some(error);
                }
            }
            if let Some(error) = failed {
                let some_are_there = published.iter().any(Option::is_some);
                return Err(if some_are_there { in_part(&topic, error) } else { error });
            }
            left.sort_unstable_by_key(|(at, _)| *at);
        }
        published.into_iter().collect::<Option<_>>().ok_or_else(|| keeps_changing(&topic))
    }

    async fn send_lane(
        &self,
        topic: &TopicName,
        partitions: u16,
        lane: Lane,
        is_over: &AtomicBool,
    ) -> Sent {
        let Lane { partition, calls } = lane;
        let mut sent = Sent { published: Vec::new(), left: Vec::new(), failed: None };
        let mut calls = calls.into_iter();
        while !is_over.load(Ordering::Relaxed)
            && let Some(call) = calls.next()
        {
            let (numbers, events): (Vec<usize>, Vec<Ready>) = call.into_iter().unzip();
            match self.write(topic, partitions, partition, events.clone()).await {
                Ok(Some(published)) => sent.published.extend(numbers.into_iter().zip(published)),
                Ok(None) => {
                    sent.left = numbers.into_iter().zip(events).chain(calls.flatten()).collect();
                    break;
                }
                Err(error) => {
                    is_over.store(true, Ordering::Relaxed);
                    sent.failed = Some(error);
                    break;
                }
            }
        }
        sent
    }
}

/// Whatever ended it: no other kind says that some of them are there.
fn in_part(topic: &TopicName, error: Error) -> Error {
    if error.is_retryable() {
        return error.made_unsure();
    }
    let kind = ErrorKind::Unavailable { maybe_applied: true };
    Error::new(
        kind,
        format!("some of these events of topic {} are published, and no more", topic.as_str()),
    )
    .with_source(error)
}

/// Those with keys in one lane a partition, so that they keep their order; of the others, each call by itself.
fn lanes(events: Vec<Numbered>, partitions: u16) -> Vec<Lane> {
    let mut by_key: BTreeMap<u16, Vec<Numbered>> = BTreeMap::new();
    let mut others: BTreeMap<u16, Vec<Numbered>> = BTreeMap::new();
    let mut any = fastrand::u16(..);
    for (at, ready) in events {
        if at % BATCH_MAX == 0 {
            any = any.wrapping_add(1);
        }
        let partition = ready.partition(partitions, any);
        let lanes = if ready.key.is_some() { &mut by_key } else { &mut others };
        lanes.entry(partition).or_default().push((at, ready));
    }
    let by_key =
        by_key.into_iter().map(|(partition, events)| Lane { partition, calls: calls(events) });
    let others = others.into_iter().flat_map(|(partition, events)| {
        calls(events).into_iter().map(move |call| Lane { partition, calls: vec![call] })
    });
    by_key.chain(others).collect()
}

/// As many events in a call as may be.
fn calls(events: Vec<Numbered>) -> Vec<Vec<Numbered>> {
    let (mut calls, mut call, mut call_len) = (Vec::new(), Vec::new(), 0);
    for (at, ready) in events {
        let len = fields_len(&ready.outgoing.fields);
        let is_full = call.len() == BATCH_MAX || call_len + len > BATCH_LEN_MAX;
        if is_full && !call.is_empty() {
            calls.push(std::mem::take(&mut call));
            call_len = 0;
        }
        call_len += len;
        call.push((at, ready));
    }
    if !call.is_empty() {
        calls.push(call);
    }
    calls
}
