//! The store: what the scripts do, and what it tells of changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::super::backend::{Lease, Token};
use super::super::model::LEASE;
use super::super::tags::{TagNumbers, Tide};
use super::{Bug, is_planted, tell};
use crate::kernel::clock::UnixMillis;
use crate::kernel::envelope::{Envelope, nonce_of};

/// A connection that is told of changes.
pub(super) type Listener = u64;

#[derive(Clone, Default)]
pub(super) struct Server {
    entries: BTreeMap<String, (Bytes, Instant)>,
    leases: BTreeMap<String, (Token, Instant)>,
    versions: BTreeMap<String, (u64, Instant)>,
    tags: BTreeMap<String, TagHash>,
    /// Who has read what since it was last told of it.
    tracked: HashMap<String, HashSet<Listener>>,
    /// What is to be told, in order.
    pub(super) pushes: Vec<(Listener, String)>,
    generations: u64,
    pub(super) fills: u64,
}

#[derive(Clone)]
struct TagHash {
    tide: Tide,
    numbers: BTreeMap<Box<str>, u64>,
}

impl Server {
    pub(super) fn get(&mut self, key: &str, listener: Option<Listener>) -> Option<Bytes> {
        self.expire_what_is_over(key);
        self.track(key, listener);
        self.entries.get(key).map(|(bytes, _)| bytes.clone())
    }

    pub(super) fn lease(
        &mut self,
        key: &str,
        unusable: Option<&[u8]>,
        token: Token,
        lease: Duration,
    ) -> Lease {
        self.expire_what_is_over(key);
        if let Some((entry, _)) = self.entries.get(key)
            && (unusable != Some(nonce_of(entry)) || is_planted(Bug::LeaseWithoutNonce))
        {
            return Lease::Entry(entry.clone());
        }
        if let Some((holder, until)) = self.leases.get(key) {
            let left = until.saturating_duration_since(Instant::now());
            return Lease::Held { left, holder: Some(*holder) };
        }
        self.leases.insert(key.to_owned(), (token, Instant::now() + lease));
        Lease::Granted
    }

    pub(super) fn fill(&mut self, key: &str, token: Token, entry: Bytes, ttl: Duration) -> bool {
        self.expire_what_is_over(key);
        let holds = self.leases.get(key).is_some_and(|(holder, _)| *holder == token);
        if !holds && !is_planted(Bug::FillIgnoresTheToken) {
            return false;
        }
        self.set(key, entry, ttl);
        self.leases.remove(key);
        self.fills += 1;
        true
    }

    pub(super) fn vacate(&mut self, key: &str, token: Token) -> bool {
        self.expire_what_is_over(key);
        let holds = self.leases.get(key).is_some_and(|(holder, _)| *holder == token);
        if holds {
            self.leases.remove(key);
            self.entries.remove(key);
            self.tell(key);
        }
        holds
    }

    pub(super) fn renew(&mut self, key: &str, token: Token, lease: Duration) -> bool {
        self.expire_what_is_over(key);
        match self.leases.get_mut(key) {
            Some((holder, until)) if *holder == token => {
                *until = Instant::now() + lease;
                true
            }
            _ => false,
        }
    }

    pub(super) fn release(&mut self, key: &str, token: Token) {
        if self.leases.get(key).is_some_and(|(holder, _)| *holder == token) {
            self.leases.remove(key);
        }
    }

    pub(super) fn put(&mut self, key: &str, entry: Bytes, ttl: Duration) {
        self.set(key, entry, ttl);
        if !is_planted(Bug::LeaseKeptByPut) {
            self.leases.remove(key);
        }
    }

    pub(super) fn put_versioned(
        &mut self,
        key: &str,
        entry: Bytes,
        ttl: Duration,
        version: u64,
    ) -> bool {
        self.expire_what_is_over(key);
        match self.versions.get(key) {
            Some((u64::MAX, _)) => {
                self.entries.remove(key);
                self.leases.remove(key);
                self.tell(key);
                return false;
            }
            Some((there, _)) if *there > version => return false,
            Some((there, _)) if *there == version && self.entries.contains_key(key) => {
                return false;
            }
            _ => {}
        }
        self.put(key, entry, ttl);
        self.versions.insert(key.to_owned(), (version, Instant::now() + ttl));
        true
    }

    pub(super) fn invalidate(&mut self, key: &str) {
        tell!("       store: {key} is invalidated");
        self.entries.remove(key);
        if !is_planted(Bug::LeaseKeptByInvalidate) {
            self.leases.remove(key);
        }
        self.bury_version(key);
        // Written and deleted: told although it was missing.
        self.tell(key);
    }

    pub(super) fn expire(&mut self, key: &str, now: UnixMillis) {
        self.expire_what_is_over(key);
        self.leases.remove(key);
        self.bury_version(key);
        let expired = self.entries.get(key).and_then(|(entry, until)| {
            let mut envelope = Envelope::open(entry).ok()?;
            envelope.life.kept = true;
            envelope.life.expired = true;
            envelope.life.fresh_until = envelope.life.fresh_until.min(now);
            Some((envelope.seal(), *until))
        });
        if let Some(expired) = expired {
            self.entries.insert(key.to_owned(), expired);
        }
        self.tell(key);
    }

    fn bury_version(&mut self, key: &str) {
        self.versions.remove(key);
        if !is_planted(Bug::InvalidationWithoutTombstone) {
            self.versions.insert(key.to_owned(), (u64::MAX, Instant::now() + LEASE));
        }
    }

    pub(super) fn tags(
        &mut self,
        key: &str,
        tags: &[Box<str>],
        listener: Option<Listener>,
    ) -> Option<TagNumbers> {
        self.track(key, listener);
        let hash = self.tags.get(key)?;
        let numbers = tags.iter().map(|tag| hash.numbers.get(tag).copied().unwrap_or(0)).collect();
        Some(TagNumbers { tide: hash.tide, numbers })
    }

    pub(super) fn begin_tags(&mut self, key: &str) {
        if !self.tags.contains_key(key) {
            self.new_generation(key);
        }
    }

    pub(super) fn invalidate_tag(&mut self, key: &str, tag: Option<&str>) {
        if tag.is_none() || !self.tags.contains_key(key) {
            self.new_generation(key);
        }
        if let (Some(tag), Some(hash)) = (tag, self.tags.get_mut(key)) {
            hash.tide.sequence += 1;
            hash.numbers.insert(tag.into(), hash.tide.sequence);
        }
        self.tell(key);
    }

    fn new_generation(&mut self, key: &str) {
        if !is_planted(Bug::TagsBroughtBack) {
            self.generations += 1;
        }
        let tide = Tide { generation: self.generations.to_be_bytes(), sequence: 0 };
        self.tags.insert(key.to_owned(), TagHash { tide, numbers: BTreeMap::new() });
        self.tell(key);
    }

    /// Memory is short.
    pub(super) fn evict(&mut self, key: &str) {
        tell!("       store: {key} is evicted");
        self.leases.remove(key);
        // Not its version: docs/semantics.md says what becomes of the promise then.
        if self.entries.remove(key).is_some() | self.tags.remove(key).is_some() {
            self.tell(key);
        }
    }

    /// What it was some time ago: a replica takes over that had not heard of the last writes.
    pub(super) fn falls_back_to(&mut self, replica: Self) {
        // No generation is ever made twice: each is drawn at random.
        let (generations, fills) = (self.generations, self.fills);
        *self = Self { generations, fills, tracked: HashMap::new(), pushes: Vec::new(), ..replica };
    }

    pub(super) fn forget(&mut self, listener: Listener) {
        for listeners in self.tracked.values_mut() {
            listeners.remove(&listener);
        }
    }

    fn set(&mut self, key: &str, entry: Bytes, ttl: Duration) {
        tell!(
            "       store: {key} is set to {:?}",
            Envelope::open(&entry).map(|e| String::from_utf8_lossy(e.payload).into_owned())
        );
        self.entries.insert(key.to_owned(), (entry, Instant::now() + ttl));
        self.tell(key);
    }

    fn track(&mut self, key: &str, listener: Option<Listener>) {
        if let Some(listener) = listener {
            self.tracked.entry(key.to_owned()).or_default().insert(listener);
        }
    }

    fn tell(&mut self, key: &str) {
        let mut listeners: Vec<_> = self.tracked.remove(key).into_iter().flatten().collect();
        listeners.sort_unstable();
        self.pushes.extend(listeners.into_iter().map(|listener| (listener, key.to_owned())));
    }

    fn expire_what_is_over(&mut self, key: &str) {
        let now = Instant::now();
        if self.entries.get(key).is_some_and(|(_, until)| *until <= now) {
            self.entries.remove(key);
            self.tell(key);
        }
        self.leases.retain(|_, (_, until)| *until > now);
        self.versions.retain(|_, (_, until)| *until > now);
    }
}
