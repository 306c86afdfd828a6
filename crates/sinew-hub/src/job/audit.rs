//! Who has changed what in the queues of a tenant: a topic of theirs, kept as that of streams is.

pub(crate) mod queue;
pub(crate) mod recurring;

use serde_json::Value;
use sinew::Streams;
use sinew::http::Problem;

use crate::auth::Actor;
use crate::stream::audit::note_in;

/// Where it is kept.
pub(crate) const TOPIC: &str = "sinew.audit.jobs";

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// By hand, on the dashboard.
    Enqueue,
    Queue,
    Pause,
    Resume,
    Repair,
    Cancel,
    Retry,
    DropDead,
    Recurring,
    Fire,
    Webhook,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Queue => "queue",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Repair => "repair",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::DropDead => "drop-dead",
            Self::Recurring => "recurring",
            Self::Fire => "fire",
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
