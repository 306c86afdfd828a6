//! What a handler is told, and what it says.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::held::Held;
use super::model::{EntryId, Note};
use super::subscribe::Settings;
use crate::kernel::name::{GroupName, TopicName};
use crate::lock::Fence;

/// Why a handler failed: its event is tried again, with its words noted.
pub type HandlerError = Box<dyn StdError + Send + Sync>;

/// What is to become of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It is finished.
    Done,
    /// It is finished, without anything having been done: counted apart.
    Drop,
    /// It is to be handled again after this time. No failure, and 10,000 times at most.
    Retry {
        /// Of an ordered group: only what has the same key waits meanwhile.
        after: Duration,
    },
    /// It cannot be handled, and is put aside.
    DeadLetter {
        /// In words without ids, so that those with the same trouble are seen together.
        reason: String,
    },
}

/// What a handler may ask about its event. Cheap to clone.
#[derive(Clone)]
pub struct Ctx(Arc<Inner>);

struct Inner {
    topic: TopicName,
    group: GroupName,
    failures: u32,
    retries: u32,
    crashes: u32,
    fence: Option<Fence>,
    // Knows whether it is lost.
    held: Arc<Held>,
    id: EntryId,
    /// Its handler knows that it is lost, and may stop for that reason.
    is_told: AtomicBool,
}

impl Ctx {
    pub(super) fn new(
        settings: &Settings,
        held: Arc<Held>,
        id: EntryId,
        note: &Note,
        crashes: u32,
        fence: Option<u64>,
    ) -> Self {
        Self(Arc::new(Inner {
            topic: settings.topic.clone(),
            group: settings.group.clone(),
            failures: note.failures,
            retries: note.retries,
            crashes,
            fence: fence.map(Fence),
            held,
            id,
            is_told: AtomicBool::new(false),
        }))
    }

    /// The topic of the event.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.topic.as_str()
    }

    /// The group that the handler is of.
    #[must_use]
    pub fn group(&self) -> &str {
        self.0.group.as_str()
    }

    /// Which delivery this is, as far as is known: 1 for the first.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        let Inner { failures, retries, crashes, .. } = &*self.0;
        failures.saturating_add(*retries).saturating_add(*crashes).saturating_add(1)
    }

    /// How often a handler has failed it.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.0.failures
    }

    /// How many deliveries ended with their process, or were not heard of again.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.0.crashes
    }

    /// Whether it was delivered before, so that some of its work may be done.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.attempt() > 1
    }

    /// Of an ordered group: a number that grows with each change of the partition's owner. A resource that refuses
    /// lower ones than it has seen is safe from an owner that was stopped, and woke too late.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.0.fence
    }

    /// Whether the event is no longer this process's: another may handle it by now, and what this handler says of
    /// it will not count. From then on, an error is no failure of the event's: if it is still this group's to handle, it
    /// is handled again, and no attempt is used up.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let is_lost = self.0.held.is_lost(self.0.id);
        self.0.is_told.fetch_or(is_lost, Ordering::Relaxed);
        is_lost
    }

    /// Resolves when the event is no longer this process's: its lease is over by this machine's clock, or the store
    /// has said so. What an error means from then on, [`Ctx::is_lost`] says.
    ///
    /// *Cancellation*: it may be dropped, and asked again.
    pub async fn lost(&self) {
        self.0.held.lost(self.0.id).await;
        self.0.is_told.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_told(&self) -> bool {
        self.0.is_told.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("topic", &self.topic())
            .field("group", &self.group())
            .field("attempt", &self.attempt())
            .field("is_lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}
