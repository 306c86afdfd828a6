//! The cache's steps in process, on expiring maps.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::backend::{Backend, Invalidated, Lease, Token};
use crate::kernel::clock::{Clock, Monotonic};
use crate::kernel::envelope::nonce_of;
use crate::kernel::error::Result;
use crate::kernel::key::Key;
use crate::kernel::memory::ExpiringMap;
use crate::kernel::pattern::Selection;
use crate::kernel::ttl::Ttl;

const SHARDS: usize = 16;
/// What a key and its bookkeeping weigh, roughly.
const OVERHEAD_BYTES: usize = 128;
const LEASES_PER_SHARD_MAX: usize = 65_536;

/// The embedded store of all caches of one `Sinew::embedded()`.
pub(crate) struct MemoryBackend {
    shared: Arc<Shared>,
    sweeper: tokio::task::JoinHandle<()>,
}

struct Shared {
    clock: Clock,
    hasher: std::hash::RandomState,
    // A plain mutex a shard: held for a few map operations, never over an await.
    shards: Vec<Mutex<Shard>>,
    written: Notify,
}

struct Shard {
    entries: ExpiringMap<Key, Bytes>,
    leases: ExpiringMap<Key, Token>,
}

impl MemoryBackend {
    pub(crate) fn new(clock: Clock, bytes_max: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                entries: ExpiringMap::new(bytes_max / SHARDS),
                leases: ExpiringMap::new(LEASES_PER_SHARD_MAX),
            })
        };
        let shared = Arc::new(Shared {
            clock,
            hasher: std::hash::RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            written: Notify::new(),
        });
        let sweeper = tokio::spawn(sweep_for_ever(Arc::clone(&shared)));
        Self { shared, sweeper }
    }
}

impl Drop for MemoryBackend {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

/// Sleeps until the next expiry, or until something new was written.
async fn sweep_for_ever(shared: Arc<Shared>) {
    loop {
        let written = shared.written.notified();
        match shared.sweep() {
            Some(next) => tokio::select! {
                () = shared.clock.sleep_until(next) => {}
                // New entries expire later than most: look again now and then, not each time.
                () = async { written.await; tokio::time::sleep(Duration::from_secs(1)).await } => {}
            },
            None => written.await,
        }
    }
}

impl Shared {
    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }

    fn sweep(&self) -> Option<Monotonic> {
        let now = self.clock.now();
        let next = |shard: &Mutex<Shard>| {
            let mut shard = shard.lock();
            let entries = shard.entries.sweep(now);
            let leases = shard.leases.sweep(now);
            entries.into_iter().chain(leases).min()
        };
        self.shards.iter().filter_map(next).min()
    }
}

impl Shard {
    fn insert(&mut self, key: &Key, entry: Bytes, expires_at: Monotonic) {
        let weight = key.as_str().len() + entry.len() + OVERHEAD_BYTES;
        self.entries.insert(key.clone(), entry, weight, expires_at);
    }

    fn holds(&self, key: &Key, token: Token, now: Monotonic) -> bool {
        self.leases.get(key, now) == Some(&token)
    }
}

impl Backend for MemoryBackend {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>> {
        let now = self.shared.clock.now();
        Ok(self.shared.shard(key).lock().entries.get(key, now).cloned())
    }

    async fn lease(
        &self,
        key: &Key,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> Result<Lease> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(key).lock();
        if let Some(entry) = shard.entries.get(key, now)
            && unusable != Some(nonce_of(entry))
        {
            return Ok(Lease::Entry(entry.clone()));
        }
        if let (Some(left), Some(holder)) =
            (shard.leases.remaining(key, now), shard.leases.get(key, now))
        {
            let holder = Some(*holder);
            return Ok(Lease::Held { left, holder });
        }
        shard.leases.insert(key.clone(), token, 1, now.after(lease));
        drop(shard);
        self.shared.written.notify_one();
        Ok(Lease::Granted)
    }

    async fn fill(&self, key: &Key, token: Token, entry: Bytes, ttl: Ttl) -> Result<bool> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(key).lock();
        if !shard.holds(key, token, now) {
            return Ok(false);
        }
        shard.insert(key, entry, now.after(ttl.duration()));
        shard.leases.remove(key);
        drop(shard);
        self.shared.written.notify_one();
        Ok(true)
    }

    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(key).lock();
        let holds = shard.holds(key, token, now);
        if holds {
            shard.leases.insert(key.clone(), token, 1, now.after(lease));
        }
        Ok(holds)
    }

    async fn release(&self, key: &Key, token: Token) -> Result<()> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(key).lock();
        if shard.holds(key, token, now) {
            shard.leases.remove(key);
        }
        Ok(())
    }

    async fn put(&self, key: &Key, entry: Bytes, ttl: Ttl) -> Result<()> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(key).lock();
        shard.insert(key, entry, now.after(ttl.duration()));
        shard.leases.remove(key);
        drop(shard);
        self.shared.written.notify_one();
        Ok(())
    }

    async fn invalidate(&self, key: &Key) -> Result<Invalidated> {
        let mut shard = self.shared.shard(key).lock();
        shard.entries.remove(key);
        shard.leases.remove(key);
        Ok(Invalidated::Done)
    }

    async fn invalidate_all(&self, of: &Selection) -> Result<u64> {
        let now = self.shared.clock.now();
        let mut removed = 0;
        for shard in &self.shared.shards {
            let mut shard = shard.lock();
            let matching = |key: &&Key| of.contains(key);
            let leases: Vec<Key> = shard.leases.keys().filter(matching).cloned().collect();
            for key in leases {
                shard.leases.remove(&key);
            }
            let entries: Vec<Key> = shard.entries.keys().filter(matching).cloned().collect();
            for key in entries {
                removed += u64::from(shard.entries.get(&key, now).is_some());
                shard.entries.remove(&key);
            }
        }
        Ok(removed)
    }

    fn is_local(&self) -> bool {
        true
    }
}
