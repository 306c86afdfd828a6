//! Event streams: what happened, told to every group that wants to know, until each has handled it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use serde::{Deserialize, Serialize};
//! use sinew::Sinew;
//! use sinew::stream::{Ack, Ctx, Event};
//!
//! #[derive(Serialize, Deserialize)]
//! struct OrderPlaced {
//!     order: u64,
//! }
//!
//! let streams = Sinew::embedded().tenant("acme")?.streams();
//! streams.publish("orders", &OrderPlaced { order: 7 }).key("ada").await?;
//!
//! let (told, heard) = tokio::sync::oneshot::channel();
//! let told = std::sync::Mutex::new(Some(told));
//! let handler = move |event: Event<OrderPlaced>, _: Ctx| {
//!     let told = told.lock().ok().and_then(|mut told| told.take());
//!     async move {
//!         if let Some(told) = told {
//!             let _ = told.send(event.data.order);
//!         }
//!         Ok(Ack::Done)
//!     }
//! };
//! let billing = streams.subscribe::<OrderPlaced>("orders", "billing").start(handler)?;
//! assert_eq!(heard.await?, 7);
//! billing.stop().await;
//! # Ok(()) }
//! ```
//!
//! # What it promises
//!
//! 1. **At least once.** An event whose publish returned is handled by every group, or becomes a dead letter with a
//!    reason; through crashes of publishers, handlers and, where it writes its log to disk with each command, Redis.
//! 2. **A slow handler is not run twice.** What a process has is its own while it lives and reaches the store; where it
//!    loses an event, [`Ctx::lost`] tells it, and its word does not count.
//! 3. **Order per key**, where a group asks for it: one key's events run one at a time and in their order, also while
//!    one of them is tried again, and the other keys go on.
//! 4. **A failure is tried again** after a pause, and in the end put aside with its history: [`Streams::dead`]. What
//!    ended with its process is counted apart.
//! 5. **Trimming takes nothing that a group has not finished.** A topic that is full refuses.
//! 6. **What was lost is counted**: an event that was deleted in the store, or a store that was flushed.
//! 7. **Tenants never meet.**
//!
//! # How an event goes
//!
//! [`Streams::publish`] writes it to a partition of its topic: that of its key, if it has one. Each group reads
//! each event once, by any of its members ([`Streams::subscribe`], [`Streams::pull`]), and a handler says
//! what becomes of it with [`Ack`]. What has no word from its process is another's after the lease and a grace.
//!
//! Effects elsewhere cannot be one step with an acknowledgement here: a handler is written so that a second run does no
//! harm, or has its mark in the database that it changes, by the crate `sinew-outbox`.
//!
//! # When Redis is down
//!
//! Publishing fails with `Unavailable` or `Timeout`. Without a dedup id it is not sent twice, and
//! [`Error::maybe_applied`](crate::Error::maybe_applied) says whether it may have been written. A subscription waits; its
//! handlers go on, and what they say is sent afterwards. An outage longer than the lease and its grace may run an
//! event twice.
//!
//! # Where it is kept
//!
//! Under `{prefix}{tenant}:stream:{…}`, each partition in one slot of a cluster. Its keys have no expiry: a Redis
//! that evicts any key may lose events. On the embedded store, in 64 MiB: when it is full, more are refused.

mod again;
// Without Redis, some of what steps are told goes unused.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod backend;
mod batch;
mod broadcast;
mod checkpoint;
mod cloud;
mod consumer;
mod dead;
mod disk;
mod engine;
mod event;
mod handler;
mod held;
mod lags;
mod lanes;
mod later;
mod look;
mod memory;
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
mod model;
mod owner;
mod page;
mod publish;
mod pull;
#[cfg(feature = "redis")]
mod redis;
mod run;
mod share;
mod subscribe;
mod tail;
mod tally;
mod topic;
#[cfg(all(test, feature = "redis"))]
mod twin;
pub(crate) mod webhook;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kernel::key::Scope;

pub use batch::PublishMany;
pub use broadcast::{Heard, Hearing};
pub use dead::{DeadGroup, DeadLetter, DeadLetters};
pub(crate) use engine::Engine;
pub use event::{Event, NewEvent};
pub use handler::{Ack, Ctx, HandlerError};
pub use look::{ConsumerInfo, GroupLag, Seek, StoredEvent, TopicInfo, Trimmed};
pub use model::{Backoff, Count, EntryId, Force, GroupChange, GroupMode, Place};
pub use publish::{Publish, Published};
pub use pull::{LeaseToken, Pulled, PulledEvent, Puller, Settled};
pub use run::Finished;
pub use subscribe::{StartFrom, Subscribe, Subscription};
pub use tail::{Cursor, Tail, TailBuilder};
pub use topic::{Topic, TopicBuilder, check_topic};
pub use webhook::{Mode, Paused, Secret, WEBHOOKS_MAX, Webhook, WebhookAt, Webhooks};

/// The event streams of one tenant; see [`Sinew::streams`](crate::Sinew::streams). Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    engine: Arc<Engine>,
    scope: Scope,
}

impl Streams {
    pub(crate) fn new(engine: Arc<Engine>, scope: Scope) -> Self {
        Self { engine, scope }
    }

    /// A topic, to be declared. One that no one has declared has one partition.
    pub fn topic(&self, topic: &str) -> TopicBuilder {
        TopicBuilder::new(self.clone(), topic)
    }

    /// Publishes an event, as JSON, when it is awaited.
    ///
    /// *Cancellation*: it is published or not.
    ///
    /// # Errors
    /// When awaited: `Unavailable` where the topic is full, `Rejected` for a bad name or setting or an event that is too
    /// long, `Conflict` where the key of its log has something else, `Unavailable` or `Timeout` when Redis is down.
    pub fn publish<T: Serialize + ?Sized>(&self, topic: &str, data: &T) -> Publish {
        Publish::new(self.clone(), topic, NewEvent::json(data))
    }

    /// Publishes events, as JSON, when it is awaited: many in a round trip. All are taken into memory first.
    ///
    /// *Cancellation*: some of them may be published, in runs of 128 at most.
    ///
    /// # Errors
    /// When awaited, as [`Streams::publish_events`].
    pub fn publish_many<T: Serialize>(
        &self,
        topic: &str,
        events: impl IntoIterator<Item = T>,
    ) -> PublishMany<T> {
        PublishMany::new(self.clone(), topic, events.into_iter().collect())
    }

    /// Handles the events of a topic as a member of a group. Their data are read from JSON.
    pub fn subscribe<T: DeserializeOwned + Send + 'static>(
        &self,
        topic: &str,
        group: &str,
    ) -> Subscribe<T> {
        Subscribe::json(self.clone(), topic, group)
    }

    /// The same, with the data as they are.
    pub fn subscribe_raw(&self, topic: &str, group: &str) -> Subscribe<Bytes> {
        Subscribe::raw(self.clone(), topic, group)
    }

    /// Takes events of a group by hand, a few at a time.
    pub fn pull(&self, topic: &str, group: &str) -> Puller {
        Puller::new(self.clone(), topic, group)
    }

    /// Reads along, as no group: nothing is kept for whoever does.
    pub fn tail(&self, topic: &str) -> TailBuilder {
        TailBuilder::new(self.clone(), topic)
    }

    /// The dead letters of a group.
    #[must_use]
    pub fn dead(&self, topic: &str, group: &str) -> DeadLetters {
        DeadLetters::new(self.clone(), topic, group)
    }

    /// The endpoints to which hubs push events.
    #[must_use]
    pub fn webhooks(&self) -> Webhooks {
        Webhooks::new(Arc::clone(&self.engine), self.scope.clone())
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("scope", &self.scope).finish_non_exhaustive()
    }
}
