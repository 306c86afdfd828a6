//! Who has changed what in the streams of a tenant: a topic of theirs. What else a tenant has may have one, too.

use std::time::Duration;

use serde_json::{Value, json};
use sinew::Streams;
use sinew::http::Problem;
use sinew::stream::{Force, NewEvent, Seek, StartFrom, StoredEvent};

use super::http::problem;
use crate::auth::Actor;
use crate::job;

/// Where it is kept.
pub(crate) const TOPIC: &str = "sinew.audit";
/// Where nobody has to say who they are.
pub(crate) const BY: &str = "http";
const LEN_MAX: u64 = 10_000;
const KEEP: Duration = Duration::from_secs(365 * 86_400);
/// From here on, the oldest make room for what comes.
const LEN_HIGH: u64 = 9_000;
/// So many of them at once.
const OLDEST: usize = 1_000;
/// It has finished the oldest, so that a topic which has no other group may drop them.
const GROUP: &str = "oldest";

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Redrive,
    DropDead,
    Seek,
    Forget,
    Trim,
    Topic,
    Webhook,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::DropDead => "drop-dead",
            Self::Seek => "seek",
            Self::Forget => "forget",
            Self::Trim => "trim",
            Self::Topic => "topic",
            Self::Webhook => "webhook",
        }
    }
}

/// Notes what is about to be done. Where it cannot be noted, it is not to be done.
///
/// # Errors
/// As publishing: 503 where the store is away.
pub(crate) async fn note(
    streams: &Streams,
    act: Act,
    actor: &Actor,
    what: Value,
    before: Value,
    after: Value,
) -> Result<(), Problem> {
    note_in(streams, TOPIC, act.name(), actor, what, before, after).await
}

/// The same in another topic, of an act by its name.
///
/// # Errors
/// As [`note`].
pub(crate) async fn note_in(
    streams: &Streams,
    topic: &str,
    act: &str,
    actor: &Actor,
    what: Value,
    before: Value,
    after: Value,
) -> Result<(), Problem> {
    let declaring = streams.topic(topic).partitions(1).len_max(LEN_MAX).keep(KEEP);
    declaring.declare().await.map_err(problem)?;
    make_room(streams, topic).await.map_err(problem)?;
    let data = json!({ "by": actor.by(BY), "what": what, "before": before, "after": after });
    let event = NewEvent { kind: Some(act.to_owned()), ..NewEvent::json(&data)? };
    streams.publish_event(topic, event).await.map_err(problem)?;
    Ok(())
}

/// Whether a topic is an audit, which hubs alone write.
pub(crate) fn is_one(topic: &str) -> bool {
    [TOPIC, job::audit::TOPIC].contains(&topic)
}

/// A topic at its cap drops what its groups have finished: so that there is one, and it has.
async fn make_room(streams: &Streams, topic: &str) -> sinew::Result<()> {
    let Some(info) = streams.look(topic).await? else { return Ok(()) };
    if info.len < LEN_HIGH {
        return Ok(());
    }
    let oldest = streams.events(topic, None, OLDEST).await?;
    let Some(last) = oldest.last() else { return Ok(()) };
    // From the end it takes nothing: it is there then.
    streams.pull(topic, GROUP).from(StartFrom::End).pull(1, Duration::ZERO).await?;
    streams.seek(topic, GROUP, Seek::Place(last.place), Force::Yes).await?;
    Ok(())
}

/// The last changes of an audit, the newest first.
pub(crate) async fn last(
    streams: &Streams,
    topic: &str,
    count: usize,
) -> sinew::Result<Vec<StoredEvent>> {
    let mut events: Vec<StoredEvent> = Vec::new();
    loop {
        let after = events.last().map(|event| event.place);
        let page = streams.events(topic, after.as_ref(), OLDEST).await?;
        let is_last = page.is_empty();
        events.extend(page);
        // No more than it may have.
        events.drain(..events.len().saturating_sub(count.max(OLDEST)));
        if is_last {
            events.drain(..events.len().saturating_sub(count));
            events.reverse();
            return Ok(events);
        }
    }
}
