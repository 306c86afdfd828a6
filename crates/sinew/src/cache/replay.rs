//! Invalidations that could not be sent, kept until they can.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::redis::{invalidate_all_on, replay_on};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::Key;
use crate::kernel::pattern::Selection;
use crate::kernel::redis::Link;
use crate::kernel::status::Status;

/// More waiting keys than this, and all caches of the deployment are cleared.
const KEYS_MAX: usize = 10_000;
const BATCH: usize = 200;
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_WHILE_DOWN: Duration = Duration::from_secs(1);

/// The bounded list of one process.
pub(crate) struct Replay {
    everything: Selection,
    waiting: Mutex<Waiting>,
    // So that a look-up takes the mutex only while something waits.
    anything_waits: AtomicBool,
    running: AtomicBool,
}

/// Each with the number of its latest request: one that comes while an earlier one of the
/// same key is being sent must not be crossed off with it.
#[derive(Default)]
struct Waiting {
    keys: HashMap<Key, u64>,
    everything: Option<u64>,
    requests: u64,
}

impl Replay {
    pub(super) fn new(everything: Selection) -> Self {
        Self {
            everything,
            waiting: Mutex::default(),
            anything_waits: AtomicBool::new(false),
            running: AtomicBool::new(false),
        }
    }

    pub(super) fn keep(&self, key: &Key) {
        self.change(|waiting| waiting.keep(key));
    }

    /// Refuses to read what was invalidated and may still be there.
    ///
    /// # Errors
    /// `Unavailable`: for this entry, Redis is as good as gone.
    pub(super) fn permits(&self, key: &Key) -> Result<()> {
        if !self.anything_waits.load(Ordering::Acquire) || !self.waiting.lock().covers(key) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable { maybe_applied: false },
            "an invalidation of this entry waits to be sent",
        ))
    }

    /// The invalidation of this very entry that waits, if one does.
    pub(super) fn request_of(&self, key: &Key) -> Option<u64> {
        if !self.anything_waits.load(Ordering::Acquire) {
            return None;
        }
        self.waiting.lock().keys.get(key).copied()
    }

    /// That invalidation is not needed any more.
    pub(super) fn cross_off(&self, key: &Key, request: u64) {
        self.change(|waiting| waiting.cross_off(key, request));
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock();
        change(&mut waiting);
        self.anything_waits.store(!waiting.is_empty(), Ordering::Release);
    }

    /// Sends what waits. What could not be sent waits on; the rest does not wait for it.
    async fn run(&self, link: &Link) -> Result<()> {
        let keys = self.waiting.lock().all_keys();
        let mut outcome = Ok(());
        for batch in keys.chunks(BATCH) {
            // Crossed off only after the reply: a call dropped here loses nothing.
            let sent = join_all(batch.iter().map(|(key, request)| async {
                // A write may have taken its place while other batches were sent.
                if self.request_of(key) != Some(*request) {
                    return Ok(());
                }
                settled(replay_on(link, key).await)?;
                self.cross_off(key, *request);
                Ok(())
            }));
            outcome = sent.await.into_iter().fold(outcome, Result::and);
        }
        let everything = self.waiting.lock().everything;
        if let Some(request) = everything {
            settled(invalidate_all_on(link, &self.everything).await)?;
            self.change(|waiting| waiting.cross_off_everything(request));
        }
        outcome
    }

    /// Sees to it that what waits is sent: by one task, which ends when nothing waits.
    pub(super) fn run_when_up(self: &Arc<Self>, link: &Link) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (replay, link, mut status) = (Arc::clone(self), link.downgrade(), link.status());
        tokio::spawn(async move {
            while !replay.waiting.lock().is_empty() {
                // A part of a cluster may be up while another is not for long.
                let up = status.wait_for(|s| matches!(s, Status::Up));
                if let Ok(Err(_)) = tokio::time::timeout(PAUSE_WHILE_DOWN, up).await {
                    // The last handle is gone, and the TTLs have to do.
                    return;
                }
                let Some(link) = link.upgrade() else { return };
                if let Err(error) = replay.run(&link).await {
                    tracing::debug!(%error, "queued invalidations wait on");
                }
                drop(link);
                tokio::time::sleep(PAUSE).await;
            }
            replay.running.store(false, Ordering::Release);
            // Something may have been kept between the last look and the flag.
            if let Some(link) = link.upgrade()
                && !replay.waiting.lock().is_empty()
            {
                replay.run_when_up(&link);
            }
        });
    }
}

/// What can never be sent must not hold up the connection for ever.
fn settled<T>(sent: Result<T>) -> Result<()> {
    match sent {
        Err(error) if !error.is_final() => Err(error),
        Err(error) => {
            tracing::error!(%error, "a queued invalidation was refused: its entry may be stale for its TTL");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

impl Waiting {
    fn keep(&mut self, key: &Key) {
        self.requests += 1;
        if self.everything.is_none() {
            self.keys.insert(key.clone(), self.requests);
        }
        if self.everything.is_some() || self.keys.len() > KEYS_MAX {
            if self.everything.is_none() {
                tracing::warn!("too many invalidations wait for Redis: all caches will be cleared");
            }
            self.everything = Some(self.requests);
            self.keys.clear();
        }
    }

    fn covers(&self, key: &Key) -> bool {
        self.everything.is_some() || self.keys.contains_key(key)
    }

    fn is_empty(&self) -> bool {
        self.everything.is_none() && self.keys.is_empty()
    }

    fn all_keys(&self) -> Vec<(Key, u64)> {
        self.keys.iter().map(|(key, request)| (key.clone(), *request)).collect()
    }

    fn cross_off(&mut self, key: &Key, request: u64) {
        if self.keys.get(key) == Some(&request) {
            self.keys.remove(key);
        }
    }

    fn cross_off_everything(&mut self, request: u64) {
        if self.everything == Some(request) {
            self.everything = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::Scope;
    use crate::kernel::name::{Prefix, Space, Tenancy};

    fn key(id: usize) -> Key {
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        scope.key(&Space::new("user").unwrap(), &id).unwrap()
    }

    #[test]
    fn a_request_made_while_its_key_is_being_sent_is_not_crossed_off_with_it() {
        let mut waiting = Waiting::default();
        waiting.keep(&key(1));
        let batch = waiting.all_keys();
        waiting.keep(&key(1));
        waiting.cross_off(&batch[0].0, batch[0].1);
        assert!(waiting.covers(&key(1)));
        let batch = waiting.all_keys();
        waiting.cross_off(&batch[0].0, batch[0].1);
        assert!(waiting.is_empty());
    }

    #[test]
    fn overflow_covers_everything_until_all_of_it_is_cleared() {
        let mut waiting = Waiting::default();
        for id in 0..=KEYS_MAX {
            waiting.keep(&key(id));
        }
        assert!(waiting.all_keys().is_empty());
        assert!(waiting.covers(&key(123_456_789)));
        let first = waiting.everything.unwrap();
        waiting.keep(&key(7));
        waiting.cross_off_everything(first);
        assert!(!waiting.is_empty(), "one came while everything was being cleared");
        waiting.cross_off_everything(waiting.everything.unwrap());
        assert!(waiting.is_empty());
    }
}
