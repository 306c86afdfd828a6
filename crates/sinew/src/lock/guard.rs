//! A lock, held.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::builder::lock_ttl;
use super::hold::Hold;
use super::model::Fence;
use crate::kernel::error::Result;

/// A lock that is held. Dropping it frees the lock in the background, and waits for nothing. Of more than
/// ten thousand that are being freed at once, the rest are left to their TTL.
///
/// It is renewed by itself for as long as it lives. Where that fails, it is lost, for good: whoever
/// works under it should race the work against [`Guard::lost`], or use
/// [`LockBuilder::run`](super::LockBuilder::run), which does.
pub struct Guard {
    hold: Arc<Hold>,
    is_put_down: bool,
}

/// Why a lock was lost, as far as this process can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It was held for as long as it may be: see [`LockBuilder::max_hold`](super::LockBuilder::max_hold).
    MaxHold,
    /// Redis said that it is not ours any more: it was taken away, or Redis has lost it.
    Gone,
    /// It could not be renewed in time: Redis did not answer, or this process stood still.
    NotRenewed,
}

/// What became of a lock that was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// It is free, or its next holder's.
    Freed,
    /// It is still held, by another guard of the same grant; see [`Guard::again`].
    Kept,
    /// It was not held any more: it ran out, or was taken away. Also where the connection was lost
    /// after Redis had freed it, and Redis was asked again.
    Gone,
}

impl Guard {
    pub(super) fn new(hold: Arc<Hold>) -> Self {
        Self { hold, is_put_down: false }
    }

    pub(super) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// The number to send along with what is written under this lock. A reader has that of the last
    /// writer; a semaphore's permit has [`Fence::NONE`].
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.hold.fence()
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &str {
        self.hold.name()
    }

    /// Whether the lock is lost, by this machine's own clock: nothing is asked. One that is lost
    /// stays so, though nobody else may hold it yet.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.hold.is_lost()
    }

    /// Why the lock is lost; `None` while it is held. Nothing is asked.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        self.hold.loss()
    }

    /// Comes back when the lock is lost: its time ran out, measured from before it was asked for,
    /// or Redis said that it has another holder. At once if it is lost already.
    ///
    /// *Cancellation*: dropping the future changes nothing.
    pub async fn lost(&self) {
        self.hold.lost().await;
    }

    /// Holds the lock for this long from now at least; never shortens. Whether it is still held.
    ///
    /// *Cancellation*: the lock is held for as long as before, or as was asked.
    ///
    /// # Errors
    /// `Rejected` for a TTL out of bounds. `Unavailable` or `Timeout` when Redis does not answer: the
    /// lock is then held for as long as before, and perhaps longer, and renewals go on.
    pub async fn extend(&self, ttl: Duration) -> Result<bool> {
        self.hold.extend(lock_ttl(ttl)?).await
    }

    /// Another guard of the same grant, for code further in that releases what it takes. The lock
    /// is freed with the last of them, in whatever order they go.
    #[must_use = "what is dropped at once holds nothing"]
    pub fn again(&self) -> Self {
        self.hold.one_guard_more();
        Self::new(Arc::clone(&self.hold))
    }

    /// Frees the lock, and wakes who is next in line.
    ///
    /// *Cancellation*: it is freed all the same, in the background.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when Redis does not answer. It is tried on in the background; the
    /// TTL frees the lock at the latest.
    pub async fn release(mut self) -> Result<Released> {
        self.is_put_down = true;
        let Some(owed) = self.hold.one_guard_less() else { return Ok(Released::Kept) };
        match owed.give_up().await? {
            true => Ok(Released::Freed),
            false => Ok(Released::Gone),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.is_put_down {
            // Given up in the background as it is dropped, where it was the last.
            drop(self.hold.one_guard_less());
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("name", &self.name())
            .field("fence", &self.fence())
            .field("is_lost", &self.is_lost())
            .finish()
    }
}
