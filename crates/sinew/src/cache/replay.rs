//! Invalidations that could not be sent, kept until they can.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;

use super::redis::{invalidate_matching_on, invalidate_on};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, Pattern};
use crate::kernel::redis::{Connection, Link};
use crate::kernel::status::Status;

/// More waiting keys than this, and their caches are cleared whole.
const KEYS_MAX: usize = 10_000;
/// More waiting caches than this (a cache of each tenant counts), and the TTL has to do.
const SPACES_MAX: usize = 10_000;
const BATCH: usize = 200;
const PAUSE: Duration = Duration::from_millis(100);

/// The bounded list of one process.
#[derive(Default)]
pub(crate) struct Replay {
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
    spaces: HashMap<Pattern, u64>,
    requests: u64,
}

impl Replay {
    pub(super) fn keep(&self, key: &Key) {
        let mut waiting = self.waiting.lock();
        waiting.keep(key);
        self.anything_waits.store(true, Ordering::Release);
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

    fn cross_off(&self, cross_off: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock();
        cross_off(&mut waiting);
        self.anything_waits.store(!waiting.is_empty(), Ordering::Release);
    }

    /// Sends what waits. What could not be sent waits on.
    pub(super) async fn run(&self, connection: &Connection) -> Result<()> {
        loop {
            let batch = self.waiting.lock().next_keys();
            if batch.is_empty() {
                break;
            }
            // Crossed off only after the reply: a call dropped here loses nothing.
            join_all(batch.iter().map(|(key, request)| async {
                let sent = invalidate_on(connection, key.as_str(), &key.lease()).await;
                settled(sent)?;
                self.cross_off(|waiting| waiting.cross_off(key, *request));
                Ok(())
            }))
            .await
            .into_iter()
            .collect::<Result<()>>()?;
        }
        loop {
            let Some((space, request)) = self.waiting.lock().next_space() else {
                return Ok(());
            };
            settled(invalidate_matching_on(connection, &space).await)?;
            self.cross_off(|waiting| waiting.cross_off_space(&space, request));
        }
    }

    /// Sees to it that what waits is sent although the connection may never break.
    pub(super) fn run_when_up(self: &Arc<Self>, link: &Link) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (replay, link, mut status) = (Arc::clone(self), link.downgrade(), link.status());
        tokio::spawn(async move {
            while !replay.waiting.lock().is_empty() {
                // Fails when the last handle is gone, and the TTLs have to do.
                if status.wait_for(|s| matches!(s, Status::Up)).await.is_err() {
                    return;
                }
                if let Some(Ok(connection)) = link.upgrade().map(|link| link.connection())
                    && let Err(error) = replay.run(&connection).await
                {
                    tracing::debug!(%error, "queued invalidations wait on");
                }
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
        Err(error) if error.is_retryable() => Err(error),
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
        let request = self.requests;
        self.keys.insert(key.clone(), request);
        if self.keys.len() > KEYS_MAX {
            let spaces = self.keys.drain().map(|(k, _)| (k.whole_space(), request));
            self.spaces.extend(spaces);
            tracing::warn!(
                caches = self.spaces.len(),
                "too many invalidations wait for Redis: their caches will be cleared"
            );
        }
        if self.spaces.len() > SPACES_MAX {
            tracing::error!(
                "too many caches wait to be cleared: entries may be stale for their TTL"
            );
            self.spaces.clear();
        }
    }

    fn covers(&self, key: &Key) -> bool {
        self.keys.contains_key(key)
            || (!self.spaces.is_empty() && self.spaces.contains_key(&key.whole_space()))
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.spaces.is_empty()
    }

    fn next_keys(&self) -> Vec<(Key, u64)> {
        let pairs = self.keys.iter().take(BATCH);
        pairs.map(|(key, request)| (key.clone(), *request)).collect()
    }

    fn next_space(&self) -> Option<(Pattern, u64)> {
        let (space, request) = self.spaces.iter().next()?;
        Some((space.clone(), *request))
    }

    fn cross_off(&mut self, key: &Key, request: u64) {
        if self.keys.get(key) == Some(&request) {
            self.keys.remove(key);
        }
    }

    fn cross_off_space(&mut self, space: &Pattern, request: u64) {
        if self.spaces.get(space) == Some(&request) {
            self.spaces.remove(space);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::{Prefix, Scope, Space, Tenancy};

    fn key(space: &str, id: usize) -> Key {
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Single);
        scope.key(&Space::new(space).unwrap(), &id).unwrap()
    }

    #[test]
    fn a_request_made_while_its_key_is_being_sent_is_not_crossed_off_with_it() {
        let mut waiting = Waiting::default();
        waiting.keep(&key("user", 1));
        let batch = waiting.next_keys();
        waiting.keep(&key("user", 1));
        waiting.cross_off(&batch[0].0, batch[0].1);
        assert!(!waiting.is_empty());
        let batch = waiting.next_keys();
        waiting.cross_off(&batch[0].0, batch[0].1);
        assert!(waiting.is_empty());
    }

    #[test]
    fn overflow_clears_the_whole_cache_and_no_other() {
        let mut waiting = Waiting::default();
        for id in 0..=KEYS_MAX {
            waiting.keep(&key("user", id));
        }
        assert!(waiting.keys.is_empty());
        let (space, request) = waiting.next_space().unwrap();
        assert!(waiting.covers(&key("user", 123_456)) && !waiting.covers(&key("user2", 1)));
        assert!(space.matches(&key("user", 7)));
        assert!(!space.matches(&key("user2", 7)), "a cache whose name only begins alike");
        waiting.cross_off_space(&space, request);
        assert!(waiting.is_empty());
    }
}
