//! Who has changed what in the streams of a tenant: a topic of theirs.

use std::time::Duration;

use serde_json::{Value, json};
use sinew::Streams;
use sinew::http::Problem;
use sinew::stream::{Force, NewEvent, Seek, StartFrom, StoredEvent};

use super::http::problem;
use crate::auth::Actor;

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
    let topic = streams.topic(TOPIC).partitions(1).len_max(LEN_MAX).keep(KEEP);
    topic.declare().await.map_err(problem)?;
    make_room(streams).await.map_err(problem)?;
    let data = json!({ "by": actor.by(BY), "what": what, "before": before, "after": after });
    let event = NewEvent { kind: Some(act.name().to_owned()), ..NewEvent::json(&data)? };
    streams.publish_event(TOPIC, event).await.map_err(problem)?;
    Ok(())
}

/// A topic at its cap drops what its groups have finished: so that there is one, and it has.
async fn make_room(streams: &Streams) -> sinew::Result<()> {
    let Some(info) = streams.look(TOPIC).await? else { return Ok(()) };
    if info.len < LEN_HIGH {
        return Ok(());
    }
    let oldest = streams.events(TOPIC, None, OLDEST).await?;
    let Some(last) = oldest.last() else { return Ok(()) };
    // From the end it takes nothing: it is there then.
    streams.pull(TOPIC, GROUP).from(StartFrom::End).pull(1, Duration::ZERO).await?;
    streams.seek(TOPIC, GROUP, Seek::Place(last.place), Force::Yes).await?;
    Ok(())
}

/// The last changes, the newest first.
pub(crate) async fn last(streams: &Streams, count: usize) -> sinew::Result<Vec<StoredEvent>> {
    let mut events: Vec<StoredEvent> = Vec::new();
    loop {
        let after = events.last().map(|event| event.place);
        let page = streams.events(TOPIC, after.as_ref(), OLDEST).await?;
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
