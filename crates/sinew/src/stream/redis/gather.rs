//! Events that are published at the same time, in one call.

use super::scripts;
use crate::kernel::error::Result;
use crate::kernel::key::PartitionKeys;
use crate::kernel::redis::{Gathered, Gathering, Link, Waiting};
use crate::stream::model::{Outgoing, Written, fields_len};

/// How many events one call publishes, and how long each of them may be, in bytes.
const EVENTS_MAX: usize = 64;
const LEN_MAX: usize = 16 << 10;

/// An event to publish.
pub(super) struct Publish {
    keys: PartitionKeys,
    partitions: u16,
    event: Outgoing,
}

/// Publishes events, as if they were alone.
///
/// *Cancellation*: they may be published.
pub(super) async fn publish(
    link: &Link,
    gathering: &Gathering<Publish>,
    keys: &PartitionKeys,
    partitions: u16,
    mut events: Vec<Outgoing>,
) -> Result<Written> {
    if gathering.is_worth_it()
        && let Some(event) = events.pop_if(|event| is_light(event))
    {
        if events.is_empty() {
            let keys = keys.clone();
            return gathering.with_others(Publish { keys, partitions, event }).await;
        }
        events.push(event);
    }
    gathering.alone(scripts::publish(link, keys, partitions, &events)).await
}

fn is_light(event: &Outgoing) -> bool {
    fields_len(&event.fields) <= LEN_MAX
}

impl Publish {
    /// One without a dedup id would keep the others from being sent again.
    fn goes_with(&self, other: &Self) -> bool {
        self.keys == other.keys
            && self.partitions == other.partitions
            && self.event.dedup.is_some() == other.event.dedup.is_some()
    }
}

impl Gathered for Publish {
    type Reply = Written;

    fn parted(waiting: Vec<Waiting<Self>>) -> Vec<Vec<Waiting<Self>>> {
        let mut calls: Vec<Vec<Waiting<Self>>> = Vec::new();
        for one in waiting {
            let open = calls.iter().rposition(|call| call[0].asked.goes_with(&one.asked));
            match open {
                Some(at) if calls[at].len() < EVENTS_MAX => calls[at].push(one),
                _ => calls.push(vec![one]),
            }
        }
        calls
    }

    async fn send(link: &Link, call: Vec<Waiting<Self>>) {
        let Some(Waiting { asked: first, .. }) = call.first() else { return };
        let (keys, partitions) = (first.keys.clone(), first.partitions);
        let (asked, tells): (Vec<_>, Vec<_>) = call.into_iter().map(Waiting::split).unzip();
        let events: Vec<_> = asked.into_iter().map(|one| one.event).collect();
        match scripts::publish(link, &keys, partitions, &events).await {
            Ok(Written::Done(wrote)) => {
                for (tell, wrote) in tells.into_iter().zip(wrote) {
                    tell.tell(Ok(Written::Done(vec![wrote])));
                }
            }
            // There may be room for some.
            Ok(Written::Full { .. } | Written::TooManyLater) if events.len() > 1 => {
                for (tell, event) in tells.into_iter().zip(events) {
                    tell.tell(scripts::publish(link, &keys, partitions, &[event]).await);
                }
            }
            told => {
                for tell in tells {
                    tell.tell(told.clone());
                }
            }
        }
    }
}
