//! What is said of locks: the replies of the hub, which commands read again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sinew::lock::Detached;
use sinew::{Fence, HeldLock, Holder, LockMode};
use utoipa::ToSchema;

/// A lock that was granted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GrantedBody {
    /// With which the lock is extended and released, at any hub: keep it from others
    pub(crate) token: String,
    /// Greater with every grant of this lock. Send it along with what is written under the lock
    pub(crate) fence: u64,
    /// For how long it is held unless it is extended, from `waitedMs` after it was asked for
    pub(crate) ttl_ms: u64,
    /// How long it waited in line
    pub(crate) waited_ms: u64,
}

impl From<Detached> for GrantedBody {
    fn from(held: Detached) -> Self {
        Self {
            token: held.token.to_string(),
            fence: held.fence.get(),
            ttl_ms: millis(held.ttl),
            waited_ms: millis(held.waited),
        }
    }
}

/// A lock that was extended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExtendedBody {
    /// For how long it is held at least, from before it was asked
    pub(crate) ttl_ms: u64,
}

/// A lock that is held.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeldLockBody {
    pub(crate) name: String,
    /// `exclusive`, `shared` or `semaphore`
    pub(crate) kind: String,
    /// Of a semaphore, as one of its holders has it
    pub(crate) permits: Option<u32>,
    /// Of the last grant; null where there was none of late
    pub(crate) fence: Option<u64>,
    /// Some of those who hold it, a hundred at most: those first that run out first
    pub(crate) holders: Vec<HolderBody>,
    /// Since when, where one holds it alone
    pub(crate) held_for_ms: Option<u64>,
    /// How many hold it
    pub(crate) holding: u64,
    /// How many wait for it
    pub(crate) waiting: u64,
}

/// Who holds a lock. Without the token, which is the holder's own.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HolderBody {
    /// The process, by a number that it drew when it connected. Of a lock that is held over HTTP: the
    /// hub that granted it
    pub(crate) process: String,
    /// When it runs out, unless it is extended
    pub(crate) expires_in_ms: u64,
}

impl From<HeldLock> for HeldLockBody {
    fn from(held: HeldLock) -> Self {
        let (kind, permits) = match held.mode {
            LockMode::Exclusive => ("exclusive", None),
            LockMode::Shared => ("shared", None),
            LockMode::Semaphore { permits } => ("semaphore", Some(permits)),
            _ => ("other", None),
        };
        Self {
            name: held.name,
            kind: kind.to_owned(),
            permits,
            fence: (held.fence != Fence::NONE).then(|| held.fence.get()),
            holders: held.holders.into_iter().map(HolderBody::from).collect(),
            held_for_ms: held.held_for.map(millis),
            holding: held.holding,
            waiting: held.waiting,
        }
    }
}

impl From<Holder> for HolderBody {
    fn from(holder: Holder) -> Self {
        Self { process: holder.process, expires_in_ms: millis(holder.expires_in) }
    }
}

/// How many held a lock that was taken from them.
#[derive(Serialize, Deserialize, ToSchema)]
pub(crate) struct ReleasedBody {
    pub(crate) released: u64,
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
