//! The cache's steps in process, on expiring maps.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::backend::{Backend, Invalidated, Lease, Read, Token};
use super::model::LEASE;
use super::tags::{TagNumbers, Tide};
use crate::kernel::clock::{Clock, Monotonic};
use crate::kernel::coherence::{Coherence, Note};
use crate::kernel::envelope::{Envelope, nonce_of};
use crate::kernel::error::{Error, ErrorKind, Result};
use crate::kernel::key::{Key, TagsKey};
use crate::kernel::memory::ExpiringMap;
use crate::kernel::pattern::Selection;
use crate::kernel::ttl::Ttl;

const SHARDS: usize = 16;
/// What a key and its bookkeeping weigh, roughly.
const OVERHEAD_BYTES: usize = 128;
const COMPANIONS_PER_SHARD_MAX: usize = 65_536;
const TAG_HASHES_MAX: usize = 65_536;
/// With so many tags, those that are long dead are forgotten.
const TAGS_TIDIED_AT: usize = 1_024;
/// The version of what was invalidated.
const BURIED: u64 = u64::MAX;

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
    tags: Mutex<ExpiringMap<TagsKey, TagHash>>,
    written: Notify,
}

struct Shard {
    entries: ExpiringMap<Key, Bytes>,
    leases: ExpiringMap<Key, Token>,
    versions: ExpiringMap<Key, u64>,
    counters: ExpiringMap<Key, i64>,
}

/// The tags of one cache.
struct TagHash {
    tide: Tide,
    /// And when it was invalidated.
    numbers: HashMap<Box<str>, (u64, Monotonic)>,
    lives_until: Monotonic,
    /// The longest that was asked for: no entry lives longer than half of it.
    ttl: Duration,
}

impl MemoryBackend {
    pub(crate) fn new(clock: Clock, bytes_max: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                entries: ExpiringMap::new(bytes_max / SHARDS),
                leases: ExpiringMap::new(COMPANIONS_PER_SHARD_MAX),
                versions: ExpiringMap::new(COMPANIONS_PER_SHARD_MAX),
                counters: ExpiringMap::new(COMPANIONS_PER_SHARD_MAX),
            })
        };
        let shared = Arc::new(Shared {
            clock,
            hasher: std::hash::RandomState::new(),
            shards: (0..SHARDS).map(|_| shard()).collect(),
            tags: Mutex::new(ExpiringMap::new(TAG_HASHES_MAX)),
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
            let versions = shard.versions.sweep(now);
            let counters = shard.counters.sweep(now);
            [entries, leases, versions, counters].into_iter().flatten().min()
        };
        let tags = self.tags.lock().sweep(now);
        self.shards.iter().filter_map(next).chain(tags).min()
    }
}

impl Shard {
    fn insert(&mut self, key: &Key, entry: Bytes, expires_at: Monotonic) {
        let weight = key.as_str().len() + entry.len() + OVERHEAD_BYTES;
        self.entries.insert(key.clone(), entry, weight, expires_at);
    }

    /// An older write may be on its way, and no one knows how old: all lose for as long as that can be.
    fn bury_version(&mut self, key: &Key, now: Monotonic) {
        self.versions.insert(key.clone(), BURIED, 1, now.after(LEASE));
    }

    fn holds(&self, key: &Key, token: Token, now: Monotonic) -> bool {
        self.leases.get(key, now) == Some(&token)
    }
}

impl Backend for MemoryBackend {
    async fn read(&self, key: &Key, _: Option<&Coherence>) -> Result<Read> {
        let now = self.shared.clock.now();
        let entry = self.shared.shard(key).lock().entries.get(key, now).cloned();
        Ok(Read { entry, note: None })
    }

    async fn read_many(&self, keys: &[Key], _: Option<&Coherence>) -> Vec<Result<Read>> {
        let mut reads = Vec::with_capacity(keys.len());
        for key in keys {
            reads.push(self.read(key, None).await);
        }
        reads
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

    async fn vacate(&self, key: &Key, token: Token) -> Result<bool> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(key).lock();
        let holds = shard.holds(key, token, now);
        if holds {
            shard.entries.remove(key);
            shard.leases.remove(key);
        }
        Ok(holds)
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

    async fn put_versioned(&self, key: &Key, entry: Bytes, ttl: Ttl, version: u64) -> Result<bool> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(key).lock();
        match shard.versions.get(key, now) {
            Some(&BURIED) => {
                // What a reader has stored since may be older than this write: neither is kept.
                shard.entries.remove(key);
                shard.leases.remove(key);
                return Ok(false);
            }
            Some(there) if *there > version => return Ok(false),
            Some(there) if *there == version && shard.entries.get(key, now).is_some() => {
                return Ok(false);
            }
            _ => {}
        }
        let expires_at = now.after(ttl.duration());
        shard.insert(key, entry, expires_at);
        shard.versions.insert(key.clone(), version, 1, expires_at);
        shard.leases.remove(key);
        drop(shard);
        self.shared.written.notify_one();
        Ok(true)
    }

    async fn invalidate(&self, key: &Key) -> Result<Invalidated> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(key).lock();
        shard.entries.remove(key);
        shard.leases.remove(key);
        shard.bury_version(key, now);
        Ok(Invalidated::Done)
    }

    async fn expire(&self, key: &Key) -> Result<Invalidated> {
        let now = self.shared.clock.now();
        let wall = self.shared.clock.wall();
        let mut shard = self.shared.shard(key).lock();
        shard.leases.remove(key);
        shard.bury_version(key, now);
        let left = shard.entries.remaining(key, now);
        let expired = shard.entries.get(key, now).and_then(|entry| {
            let mut envelope = Envelope::open(entry).ok()?;
            envelope.life.kept = true;
            envelope.life.expired = true;
            envelope.life.fresh_until = envelope.life.fresh_until.min(wall);
            Some(envelope.seal())
        });
        match (expired, left) {
            (Some(entry), Some(left)) => shard.insert(key, entry, now.after(left)),
            _ => {
                shard.entries.remove(key);
            }
        }
        Ok(Invalidated::Done)
    }

    async fn tags(
        &self,
        key: &TagsKey,
        tags: &[Box<str>],
        _: Option<&Coherence>,
    ) -> Result<(Option<TagNumbers>, Option<Note>)> {
        let now = self.shared.clock.now();
        let hashes = self.shared.tags.lock();
        let numbers = hashes.get(key, now).map(|hash| TagNumbers {
            tide: hash.tide,
            numbers: tags.iter().map(|tag| hash.numbers.get(tag).map_or(0, |(n, _)| *n)).collect(),
        });
        Ok((numbers, None))
    }

    async fn begin_tags(&self, key: &TagsKey, ttl: Ttl) -> Result<()> {
        self.change_tags(key, ttl, |_| {});
        Ok(())
    }

    async fn invalidate_tag(
        &self,
        key: &TagsKey,
        tag: Option<&str>,
        ttl: Ttl,
    ) -> Result<Invalidated> {
        let now = self.shared.clock.now();
        self.change_tags(key, ttl, |hash| match tag {
            Some(tag) => {
                hash.tide.sequence += 1;
                if hash.numbers.len() >= TAGS_TIDIED_AT {
                    let lives_for = hash.ttl.max(ttl.duration());
                    hash.numbers.retain(|_, (_, at)| now.since(*at) < lives_for);
                }
                hash.numbers.insert(tag.into(), (hash.tide.sequence, now));
            }
            None => {
                hash.tide = new_tide();
                hash.numbers.clear();
            }
        });
        Ok(Invalidated::Done)
    }

    async fn look(&self, key: &Key) -> Result<(Option<Bytes>, Option<Duration>)> {
        let now = self.shared.clock.now();
        let shard = self.shared.shard(key).lock();
        Ok((shard.entries.get(key, now).cloned(), shard.entries.remaining(key, now)))
    }

    async fn sizes(&self, of: &Selection, keys_max: usize) -> Result<Vec<(String, u64)>> {
        let (now, mut sizes) = (self.shared.clock.now(), Vec::new());
        for shard in &self.shared.shards {
            let shard = shard.lock();
            for key in shard.entries.keys().take(keys_max / SHARDS + 1) {
                if let (true, Some(entry)) = (of.contains(key), shard.entries.get(key, now)) {
                    sizes.push((key.as_str().to_owned(), entry.len() as u64));
                }
            }
        }
        Ok(sizes)
    }

    async fn count(&self, counter: &Key) -> Result<i64> {
        let now = self.shared.clock.now();
        Ok(self.shared.shard(counter).lock().counters.get(counter, now).copied().unwrap_or(0))
    }

    async fn add(&self, counter: &Key, by: i64, ttl: Ttl) -> Result<i64> {
        let now = self.shared.clock.now();
        let mut shard = self.shared.shard(counter).lock();
        let before = shard.counters.get(counter, now).copied();
        let overflow = || Error::new(ErrorKind::Conflict, "the counter would overflow");
        let count = before.unwrap_or(0).checked_add(by).ok_or_else(overflow)?;
        let lives_for = shard.counters.remaining(counter, now).unwrap_or(ttl.duration());
        shard.counters.insert(counter.clone(), count, 1, now.after(lives_for));
        Ok(count)
    }

    async fn invalidate_all(&self, of: &Selection) -> Result<u64> {
        let now = self.shared.clock.now();
        let mut removed = 0;
        for shard in &self.shared.shards {
            let mut shard = shard.lock();
            let matching = |key: &&Key| of.contains(key);
            let leases: Vec<Key> = shard.leases.keys().filter(matching).cloned().collect();
            for key in leases {
                if shard.leases.get(&key, now).is_some() {
                    shard.bury_version(&key, now);
                }
                shard.leases.remove(&key);
            }
            let entries: Vec<Key> = shard.entries.keys().filter(matching).cloned().collect();
            for key in entries {
                // What has expired is not there, though it may not have been swept yet.
                if shard.entries.get(&key, now).is_some() {
                    removed += 1;
                    shard.bury_version(&key, now);
                }
                shard.entries.remove(&key);
            }
        }
        Ok(removed)
    }

    fn is_local(&self) -> bool {
        true
    }

    fn track(&self, _: &Arc<Coherence>) {}

    fn note(&self, _: &str, _: &Coherence) -> Option<Note> {
        None
    }

    fn forget(&self) {}

    fn permits_tags(&self, _: &TagsKey) -> Result<()> {
        Ok(())
    }
}

impl MemoryBackend {
    fn change_tags(&self, key: &TagsKey, ttl: Ttl, change: impl FnOnce(&mut TagHash)) {
        let now = self.shared.clock.now();
        let mut hashes = self.shared.tags.lock();
        let there = hashes.get(key, now).is_some();
        let mut hash = hashes.remove(key).filter(|_| there).unwrap_or_else(|| TagHash {
            tide: new_tide(),
            numbers: HashMap::new(),
            lives_until: now,
            ttl: ttl.duration(),
        });
        change(&mut hash);
        hash.lives_until = hash.lives_until.max(now.after(ttl.duration()));
        hash.ttl = hash.ttl.max(ttl.duration());
        let lives_until = hash.lives_until;
        hashes.insert(key.clone(), hash, 1, lives_until);
    }
}

fn new_tide() -> Tide {
    Tide { generation: fastrand::u64(..).to_be_bytes(), sequence: 0 }
}
