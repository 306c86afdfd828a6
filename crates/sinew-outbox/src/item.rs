//! What a row holds, and who takes it.

use std::time::SystemTime;

use sinew::Sinew;
use sinew::job::{Enqueued, NewJob};
use sinew::stream::NewEvent;

use crate::{event, job};

/// What the topic of a row begins with that is for a queue: in no topic's name is a colon.
const QUEUE: &str = "queue:";

/// What a row holds.
#[derive(Clone)]
pub(crate) enum Item {
    Event(NewEvent),
    Job(NewJob),
}

/// The topic of rows for a queue.
pub(crate) fn of_queue(queue: &str) -> String {
    format!("{QUEUE}{queue}")
}

impl Item {
    /// Words where someone else wrote the row. `row` is what its event is known by where the caller gave no dedup id.
    pub(crate) fn read(topic: &str, json: &[u8], row: String) -> Result<Self, String> {
        match topic.starts_with(QUEUE) {
            true => job::from_json(json).map(Self::Job),
            false => event::from_json(json, row, SystemTime::now()).map(Self::Event),
        }
    }

    /// Those of one key go out in their order.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Event(event) => event.key.as_deref(),
            Self::Job(job) => job.key.as_deref(),
        }
    }

    /// How many jobs are not there, since others have their unique names: none, or this one.
    pub(crate) async fn publish(self, sinew: &Sinew, topic: &str) -> sinew::Result<u64> {
        match self {
            Self::Event(event) => {
                let _ = sinew.streams().publish_event(topic, event).await?;
                Ok(0)
            }
            Self::Job(job) => {
                let enqueued = sinew.jobs().enqueue_raw(queue_of(topic), job).await?;
                Ok(duplicates(&[enqueued]))
            }
        }
    }

    /// The same with all of one topic, in one call where it can be.
    pub(crate) async fn publish_all(
        items: Vec<Self>,
        sinew: &Sinew,
        topic: &str,
    ) -> sinew::Result<u64> {
        let (mut events, mut jobs) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Self::Event(event) => events.push(event),
                Self::Job(job) => jobs.push(job),
            }
        }
        // A topic has the one or the other.
        if jobs.is_empty() {
            let _ = sinew.streams().publish_events(topic, events).await?;
            Ok(0)
        } else {
            let enqueued = sinew.jobs().enqueue_many_raw(queue_of(topic), jobs).await?;
            Ok(duplicates(&enqueued))
        }
    }
}

fn duplicates(enqueued: &[Enqueued]) -> u64 {
    enqueued.iter().filter(|one| matches!(one, Enqueued::Duplicate(_))).count() as u64
}

fn queue_of(topic: &str) -> &str {
    topic.strip_prefix(QUEUE).unwrap_or(topic)
}
