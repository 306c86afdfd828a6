//! The steps in process: for the embedded store, and for while Redis does not answer.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use metrics::Counter;
use parking_lot::Mutex;

use super::algorithm::{Demand, Mode, Receipt, Rule, Tally, decide};
use super::backend::{Backend, Place, Reply, Token};
use super::definitions::{Edit, Edited, Register, Rows};
use crate::kernel::clock::{Clock, Monotonic};
use crate::kernel::error::Result;
use crate::kernel::key::Key;
use crate::kernel::memory::{ExpiringMap, FirstOut};
use crate::kernel::telemetry;

/// What a key and its bookkeeping weigh, roughly.
const OVERHEAD_BYTES: usize = 256;
const HOLDER_BYTES: usize = 64;

/// Limits of one process. When it is full, what was not asked for the longest time is forgotten: by what is
/// forgotten first, it would be whatever has a short period.
pub(crate) struct MemoryBackend {
    clock: Clock,
    // One for all: a request is charged to several limits or to none. Held for a few map operations,
    // never over an await.
    kept: Mutex<Kept>,
    definitions: Mutex<Register>,
}

struct Kept {
    tallies: ExpiringMap<Key, Tally>,
    holders: ExpiringMap<Key, HashMap<Token, Monotonic>>,
    evicted: Counter,
}

impl MemoryBackend {
    pub(crate) fn new(clock: Clock, bytes_max: usize) -> Self {
        let kept = Kept {
            tallies: ExpiringMap::new(bytes_max / 2).first_out(FirstOut::Idle),
            holders: ExpiringMap::new(bytes_max / 2).first_out(FirstOut::Idle),
            evicted: metrics::counter!(telemetry::LIMIT_EVICTED),
        };
        Self { clock, kept: Mutex::new(kept), definitions: Mutex::default() }
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
            match changed {
                Some(tally) => kept.keep(key, tally, now),
                None => kept.tallies.touch(key),
            }
        }
        Reply { now_us, admitted: verdict.admitted, rows: verdict.rows }
    }

    /// [`Backend::settle`], likewise.
    pub(super) fn settle_now(&self, key: &Key, rule: Rule, receipt: &Receipt, actual: u64) {
        let mut kept = self.kept.lock();
        let now = self.clock.now();
        let found = kept.tallies.get(key, now);
        if let Some(tally) = rule.settle(found, micros(now), receipt, actual) {
            kept.keep(key, tally, now);
        }
    }

    /// [`Backend::reset`], likewise.
    pub(super) fn reset_now(&self, key: &Key) -> bool {
        let mut kept = self.kept.lock();
        let was_charged = kept.tallies.get(key, self.clock.now()).is_some();
        kept.tallies.remove(key);
        was_charged
    }
}

impl Kept {
    fn keep(&mut self, key: &Key, tally: Tally, now: Monotonic) {
        let lasts_us = tally.lasts_us(micros(now));
        if lasts_us == 0 {
            self.tallies.remove(key);
            return;
        }
        let weight = key_weight(key) + tally.weight() + OVERHEAD_BYTES;
        let expires_at = now.after(Duration::from_micros(lasts_us));
        let evicted = self.tallies.evicted();
        self.tallies.insert(key.clone(), tally, weight, expires_at);
        self.evicted.increment(self.tallies.evicted() - evicted);
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
            let weight = key_weight(key) + holders.len() * HOLDER_BYTES + OVERHEAD_BYTES;
            let evicted = self.holders.evicted();
            self.holders.insert(key.clone(), holders, weight, last);
            self.evicted.increment(self.holders.evicted() - evicted);
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

    async fn reset(&self, key: &Key) -> Result<bool> {
        Ok(self.reset_now(key))
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

    async fn definitions(&self) -> Result<Rows> {
        Ok(self.definitions.lock().rows())
    }

    async fn define(&self, edit: &Edit<'_>) -> Result<Edited> {
        Ok(self.definitions.lock().make(edit, self.clock.wall()))
    }

    async fn changes(&self, count: usize) -> Result<Vec<Bytes>> {
        Ok(self.definitions.lock().changes(count))
    }

    fn is_local(&self) -> bool {
        true
    }

    /// There is nothing to wait for.
    fn deadline(&self) -> Duration {
        Duration::MAX
    }

    fn together(&self, _: &Key) -> u16 {
        0
    }
}

/// The map has it twice: by itself, and by when it was used last. It may be as long as strangers like.
fn key_weight(key: &Key) -> usize {
    2 * key.as_str().len()
}

fn micros(now: Monotonic) -> u64 {
    u64::try_from(now.as_nanos() / 1_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::key::{Path, Scope};
    use crate::kernel::name::{LimitName, Prefix, Tenancy};
    use crate::limit::algorithm::Algorithm;

    #[test]
    fn a_limit_of_a_short_period_holds_also_where_long_ones_fill_the_memory() {
        let backend = MemoryBackend::new(Clock::manual().0, 64 << 10);
        let scope = Scope::unscoped(&Prefix::default(), Tenancy::Multi);
        let key = |name: &str, subject: u64| {
            scope.limit(&LimitName::new(name).unwrap(), &Path::of(&subject)).unwrap()
        };
        let rule = |limit, period_us| {
            Rule::new(Algorithm::FixedWindow, limit, period_us, limit, 0).unwrap()
        };
        let admits = |key: &Key, rule: Rule| {
            let demand = Demand { rule, cost: 1, want: 1, is_shadow: false };
            backend.check_now(&[(key, demand)], Mode::Charge).admitted
        };
        let (daily, flood) = (rule(1_000, 24 * 3_600_000_000), rule(50, 1_000_000));
        let (address, mut passed) = (key("flood", 7), 0);
        for user in 0..2_000 {
            assert!(admits(&key("daily", user), daily));
            passed += u32::from(admits(&address, flood));
        }
        assert_eq!(passed, 50);
        assert!(backend.kept.lock().tallies.evicted() > 1_000, "it was full");
    }
}
