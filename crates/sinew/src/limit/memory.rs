//! The steps in process: for the embedded store, and for while Redis does not answer.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::algorithm::{Demand, Mode, Receipt, Rule, Tally, decide};
use super::backend::{Backend, Place, Reply, Token};
use crate::kernel::clock::{Clock, Monotonic};
use crate::kernel::error::Result;
use crate::kernel::key::Key;
use crate::kernel::memory::ExpiringMap;

/// What a key and its bookkeeping weigh, roughly.
const OVERHEAD_BYTES: usize = 256;
const HOLDER_BYTES: usize = 64;

/// Limits of one process. What would be forgotten first is forgotten early when it is full.
pub(crate) struct MemoryBackend {
    clock: Clock,
    // One for all: a request is charged to several limits or to none. Held for a few map operations,
    // never over an await.
    kept: Mutex<Kept>,
}

struct Kept {
    tallies: ExpiringMap<Key, Tally>,
    holders: ExpiringMap<Key, HashMap<Token, Monotonic>>,
}

impl MemoryBackend {
    pub(crate) fn new(clock: Clock, bytes_max: usize) -> Self {
        let (tallies, holders) = (ExpiringMap::new(bytes_max / 2), ExpiringMap::new(bytes_max / 2));
        Self { clock, kept: Mutex::new(Kept { tallies, holders }) }
    }

    /// [`Backend::check`], which has nothing to wait for here.
    pub(super) fn check_now(&self, demands: &[(&Key, Demand)], mode: Mode) -> Reply {
        let mut kept = self.kept.lock();
        let now = self.clock.now();
        let now_us = micros(now);
        kept.tallies.sweep(now);
        let found = demands.iter().map(|(key, demand)| (*demand, kept.tallies.get(key, now)));
        let verdict = decide(found, mode, now_us);
        for ((key, _), changed) in demands.iter().zip(verdict.kept) {
            if let Some(tally) = changed {
                kept.keep(key, tally, now);
            }
        }
        Reply { now_us, admitted: verdict.admitted, rows: verdict.rows }
    }

    /// [`Backend::settle`], likewise.
    pub(super) fn settle_now(&self, key: &Key, rule: Rule, receipt: &Receipt, actual: u64) {
        let mut kept = self.kept.lock();
        let now = self.clock.now();
        let mut tally = rule.open(kept.tallies.get(key, now), micros(now)).tally;
        tally.settle(micros(now), receipt, actual);
        kept.keep(key, tally, now);
    }

    pub(super) fn reset_now(&self, key: &Key) {
        self.kept.lock().tallies.remove(key);
    }
}

impl Kept {
    fn keep(&mut self, key: &Key, tally: Tally, now: Monotonic) {
        let reset_us = tally.outlook(micros(now), 1).reset_us;
        if reset_us == 0 {
            self.tallies.remove(key);
            return;
        }
        let weight = key.as_str().len() + tally.weight() + OVERHEAD_BYTES;
        let expires_at = now.after(Duration::from_micros(reset_us));
        self.tallies.insert(key.clone(), tally, weight, expires_at);
    }

    /// Those who hold a place now.
    fn holders(&mut self, key: &Key, now: Monotonic) -> HashMap<Token, Monotonic> {
        self.holders.sweep(now);
        let mut holders = self.holders.remove(key).unwrap_or_default();
        holders.retain(|_, ends_at| *ends_at > now);
        holders
    }

    fn hold(&mut self, key: &Key, holders: HashMap<Token, Monotonic>) {
        if let Some(last) = holders.values().max().copied() {
            let weight = key.as_str().len() + holders.len() * HOLDER_BYTES + OVERHEAD_BYTES;
            self.holders.insert(key.clone(), holders, weight, last);
        }
    }
}

impl Backend for MemoryBackend {
    async fn check(&self, demands: &[(&Key, Demand)], mode: Mode) -> Result<Reply> {
        Ok(self.check_now(demands, mode))
    }

    async fn settle(&self, key: &Key, rule: Rule, receipt: &Receipt, actual: u64) -> Result<()> {
        self.settle_now(key, rule, receipt, actual);
        Ok(())
    }

    async fn reset(&self, key: &Key) -> Result<()> {
        self.reset_now(key);
        Ok(())
    }

    async fn acquire(
        &self,
        key: &Key,
        token: Token,
        places: u64,
        lease: Duration,
    ) -> Result<Place> {
        let mut kept = self.kept.lock();
        let now = self.clock.now();
        let mut holders = kept.holders(key, now);
        let place = match holders.values().min().copied() {
            Some(first) if holders.len() as u64 >= places => Place::Full(first.since(now)),
            _ => {
                holders.insert(token, now.after(lease));
                Place::Held
            }
        };
        kept.hold(key, holders);
        Ok(place)
    }

    async fn renew(&self, key: &Key, token: Token, lease: Duration) -> Result<bool> {
        let mut kept = self.kept.lock();
        let now = self.clock.now();
        let mut holders = kept.holders(key, now);
        let ends_at = holders.get_mut(&token);
        let is_held = ends_at.is_some();
        if let Some(ends_at) = ends_at {
            *ends_at = now.after(lease);
        }
        kept.hold(key, holders);
        Ok(is_held)
    }

    async fn release(&self, key: &Key, token: Token) -> Result<()> {
        let mut kept = self.kept.lock();
        let now = self.clock.now();
        let mut holders = kept.holders(key, now);
        holders.remove(&token);
        kept.hold(key, holders);
        Ok(())
    }

    async fn beat(&self, _: Token) -> Result<u64> {
        Ok(1)
    }

    fn is_local(&self) -> bool {
        true
    }

    fn together(&self, _: &Key) -> u16 {
        0
    }
}

fn micros(now: Monotonic) -> u64 {
    u64::try_from(now.as_nanos() / 1_000).unwrap_or(u64::MAX)
}
