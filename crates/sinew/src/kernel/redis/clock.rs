//! The clock of a node, as it was told last.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So long it is taken to run as ours does: it may be set, or another server take its place.
const TOLD_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct NodeClock {
    // Held for a copy.
    told: Mutex<Option<Told>>,
}

#[derive(Clone, Copy)]
struct Told {
    now_ms: u64,
    at: Instant,
}

impl NodeClock {
    /// In milliseconds since 1970; nothing where it is too long ago that it was told.
    pub(super) fn now_ms(&self) -> Option<u64> {
        let told = (*self.told.lock())?;
        let since = told.at.elapsed();
        let since_ms = u64::try_from(since.as_millis()).ok()?;
        (since <= TOLD_MAX).then(|| told.now_ms.saturating_add(since_ms))
    }

    /// It said so after `asked`: rather ahead of it than behind.
    pub(super) fn set(&self, now_ms: u64, asked: Instant) {
        *self.told.lock() = Some(Told { now_ms, at: asked });
    }
}
