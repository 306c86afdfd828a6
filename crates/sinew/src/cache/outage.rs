//! What a cache does while the store does not answer: load from the source, or keep local copies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::flight::Departure;
use crate::kernel::clock::Monotonic;
use crate::kernel::error::{Error, Result};
use crate::kernel::key::Key;
use crate::kernel::memory::ExpiringMap;
use crate::kernel::pattern::Selection;

/// What `get_or_load` and `get` do while Redis does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outage {
    /// Every call loads from the source; calls at the same time share one load.
    #[default]
    Source,
    /// What was loaded during the outage is kept in this process for a short time, so that the
    /// source is not asked for every call. An invalidation in this process removes it; one in
    /// another process cannot be heard of, so a value may be as old as this.
    Local {
        /// 1 ms to 10 minutes.
        ttl: Duration,
    },
}

impl Outage {
    const TTL_MAX: Duration = Duration::from_secs(600);

    /// # Errors
    /// `Rejected` for a TTL out of bounds.
    pub(super) fn check(self) -> Result<Self> {
        match self {
            Self::Local { ttl } if ttl < Duration::from_millis(1) || ttl > Self::TTL_MAX => {
                Err(Error::rejected(format!(
                    "a TTL of {ttl:?} during an outage is out of bounds: expected 1 ms to 10 minutes"
                )))
            }
            fine => Ok(fine),
        }
    }
}

/// What all copies of a process may weigh, in bytes.
const WEIGHT_MAX: usize = 32 << 20;
/// What a copy weighs beside its bytes, about.
const OVERHEAD: usize = 200;

/// The copies of one process.
pub(super) struct Copies {
    entries: Mutex<ExpiringMap<Key, Bytes>>,
    // So that a look-up takes the mutex only during an outage and shortly after.
    any: AtomicBool,
}

impl Copies {
    pub(super) fn new() -> Self {
        Self { entries: Mutex::new(ExpiringMap::new(WEIGHT_MAX)), any: AtomicBool::new(false) }
    }

    pub(super) fn get(&self, key: &Key, now: Monotonic) -> Option<Bytes> {
        if !self.any.load(Ordering::SeqCst) {
            return None;
        }
        self.entries.lock().get(key, now).cloned()
    }

    /// Keeps what a flight has loaded, unless it was told of a change meanwhile.
    pub(super) fn keep(
        &self,
        key: &Key,
        entry: Bytes,
        now: Monotonic,
        ttl: Duration,
        flight: &Departure,
    ) {
        let mut entries = self.entries.lock();
        // Before the look: whoever closes the flight after it waits for the lock, and removes the copy.
        self.any.store(true, Ordering::SeqCst);
        if flight.is_untouched() {
            let weight = entry.len() + key.as_str().len() + OVERHEAD;
            entries.insert(key.clone(), entry, weight, now.after(ttl));
        }
        entries.sweep(now);
        self.any.store(entries.keys().next().is_some(), Ordering::SeqCst);
    }

    /// The store has answered for a key: its copy has had its day.
    pub(super) fn answered(&self, key: &Key, now: impl FnOnce() -> Monotonic) {
        if self.any.load(Ordering::SeqCst) {
            self.change(|entries| {
                entries.remove(key);
                // Those that no one asks for again must not make every look-up come by here.
                entries.sweep(now());
            });
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        if self.any.load(Ordering::SeqCst) {
            self.change(|entries| {
                entries.remove(key);
            });
        }
    }

    pub(super) fn remove_all(&self, of: &Selection) {
        if self.any.load(Ordering::SeqCst) {
            self.change(|entries| {
                let gone: Vec<Key> =
                    entries.keys().filter(|key| of.contains(key)).cloned().collect();
                for key in gone {
                    entries.remove(&key);
                }
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut ExpiringMap<Key, Bytes>)) {
        let mut entries = self.entries.lock();
        change(&mut entries);
        self.any.store(entries.keys().next().is_some(), Ordering::SeqCst);
    }
}
