//! The embedded store's building block: a map that expires and is bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use super::clock::Monotonic;

/// A map whose entries expire, and whose total weight is bounded.
///
/// When it is full, what would expire first goes first, unless said. Time is a parameter: a caller
/// passes the same `now` to everything it does under one lock.
pub(crate) struct ExpiringMap<K, V> {
    entries: HashMap<K, Slot<V>>,
    // Ordered by expiry; the number makes equal times distinct.
    by_expiry: BTreeSet<(Monotonic, u64)>,
    // Ordered by their last use.
    by_number: BTreeMap<u64, K>,
    next_number: u64,
    weight: usize,
    weight_max: usize,
    first_out: FirstOut,
    evicted: u64,
}

/// What goes first when a map is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstOut {
    /// What would expire first.
    Expiry,
    /// What was not used for the longest time, where its expiry says nothing of its worth.
    Idle,
}

struct Slot<V> {
    value: V,
    expires_at: Monotonic,
    number: u64,
    weight: usize,
}

impl<K: Clone + Eq + Hash, V> ExpiringMap<K, V> {
    pub(crate) fn new(weight_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            by_expiry: BTreeSet::new(),
            by_number: BTreeMap::new(),
            next_number: 0,
            weight: 0,
            weight_max,
            first_out: FirstOut::Expiry,
            evicted: 0,
        }
    }

    pub(crate) fn first_out(self, first_out: FirstOut) -> Self {
        Self { first_out, ..self }
    }

    /// How many entries went because it was full.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(crate) fn get(&self, key: &K, now: Monotonic) -> Option<&V> {
        let slot = self.entries.get(key)?;
        (slot.expires_at > now).then_some(&slot.value)
    }

    /// Time left to live.
    pub(crate) fn remaining(&self, key: &K, now: Monotonic) -> Option<Duration> {
        let slot = self.entries.get(key)?;
        (slot.expires_at > now).then(|| slot.expires_at.since(now))
    }

    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize, expires_at: Monotonic) {
        self.remove(&key);
        if weight > self.weight_max {
            // It would push out everything else, and itself.
            return;
        }
        let number = self.number();
        self.by_expiry.insert((expires_at, number));
        self.by_number.insert(number, key.clone());
        self.weight += weight;
        self.entries.insert(key, Slot { value, expires_at, number, weight });
        while self.weight > self.weight_max {
            self.evicted += 1;
            match self.first_out {
                FirstOut::Expiry => self.remove_first_to_expire(),
                FirstOut::Idle => self.remove_idlest(),
            }
        }
    }

    /// Notes that an entry is in use. Inserting it does, too.
    pub(crate) fn touch(&mut self, key: &K) {
        let number = self.number();
        if let Some(slot) = self.entries.get_mut(key)
            && let Some(key) = self.by_number.remove(&slot.number)
        {
            self.by_expiry.remove(&(slot.expires_at, slot.number));
            slot.number = number;
            self.by_expiry.insert((slot.expires_at, number));
            self.by_number.insert(number, key);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let slot = self.entries.remove(key)?;
        self.by_expiry.remove(&(slot.expires_at, slot.number));
        self.by_number.remove(&slot.number);
        self.weight -= slot.weight;
        Some(slot.value)
    }

    /// Drops what has expired, and says when to look again.
    pub(crate) fn sweep(&mut self, now: Monotonic) -> Option<Monotonic> {
        loop {
            let next = self.by_expiry.first()?.0;
            if next > now {
                return Some(next);
            }
            self.remove_first_to_expire();
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn remove_first_to_expire(&mut self) {
        let Some((_, number)) = self.by_expiry.first() else {
            return;
        };
        if let Some(key) = self.by_number.get(number).cloned() {
            self.remove(&key);
        }
    }

    fn remove_idlest(&mut self) {
        if let Some((_, key)) = self.by_number.first_key_value() {
            let key = key.clone();
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::clock::Clock;
    use super::*;

    #[test]
    fn full_evicts_what_would_expire_first() {
        let now = Clock::manual().0.now();
        let at = |secs| now.after(Duration::from_secs(secs));
        let mut map = ExpiringMap::new(10);
        map.insert("late", 1, 5, at(30));
        map.insert("soon", 2, 5, at(10));
        map.insert("new", 3, 5, at(20));
        assert_eq!(map.get(&"soon", now), None);
        assert_eq!(map.get(&"late", now), Some(&1));
        assert_eq!(map.get(&"new", now), Some(&3));
        map.insert("new", 4, 11, at(99));
        assert_eq!(map.get(&"new", now), None, "too large to keep, and the old one is gone");
        assert_eq!(map.get(&"late", now), Some(&1));
    }

    #[test]
    fn full_evicts_what_was_not_used_for_the_longest_time_where_that_is_said() {
        let now = Clock::manual().0.now();
        let at = |secs| now.after(Duration::from_secs(secs));
        let mut map = ExpiringMap::new(15).first_out(FirstOut::Idle);
        map.insert("long", 1, 5, at(30));
        map.insert("short", 2, 5, at(1));
        map.insert("other", 3, 5, at(20));
        map.insert("short", 4, 5, at(2));
        map.touch(&"long");
        map.insert("new", 5, 5, at(1));
        assert_eq!(map.get(&"other", now), None, "the others were used since");
        assert_eq!(map.get(&"short", now), Some(&4), "however soon it expires");
        assert_eq!((map.get(&"long", now), map.get(&"new", now)), (Some(&1), Some(&5)));
        assert_eq!(map.evicted(), 1);
        map.sweep(at(2));
        assert_eq!(map.get(&"long", at(2)), Some(&1));
        assert_eq!((map.entries.len(), map.evicted()), (1, 1), "what expires is not evicted");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u8),
        Remove(u8),
        Touch(u8),
        Sweep,
        Pass(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..6u8, 1..9u8).prop_map(|(k, ttl)| Step::Insert(k, ttl)),
            1 => (0..6u8).prop_map(Step::Remove),
            1 => (0..6u8).prop_map(Step::Touch),
            1 => Just(Step::Sweep),
            2 => (0..5u8).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_list_of_expiries(steps in prop::collection::vec(step(), 0..60)) {
            let (clock, hands) = Clock::manual();
            let mut map = ExpiringMap::new(usize::MAX);
            let mut model: HashMap<u8, (usize, Monotonic)> = HashMap::new();
            for (i, step) in steps.into_iter().enumerate() {
                let now = clock.now();
                match step {
                    Step::Insert(k, ttl) => {
                        let at = now.after(Duration::from_secs(ttl.into()));
                        map.insert(k, i, 1, at);
                        model.insert(k, (i, at));
                    }
                    Step::Remove(k) => {
                        map.remove(&k);
                        model.remove(&k);
                    }
                    Step::Touch(k) => map.touch(&k),
                    Step::Sweep => {
                        map.sweep(now);
                        model.retain(|_, (_, at)| *at > now);
                        prop_assert_eq!(map.entries.len(), model.len());
                    }
                    Step::Pass(secs) => hands.advance(Duration::from_secs(secs.into())),
                }
                let now = clock.now();
                for k in 0..6u8 {
                    let expected = model.get(&k).filter(|(_, at)| *at > now).map(|(v, _)| v);
                    prop_assert_eq!(map.get(&k, now), expected);
                }
                prop_assert_eq!(map.weight, map.entries.len());
                prop_assert_eq!(map.by_expiry.len(), map.entries.len());
                prop_assert_eq!(map.by_number.len(), map.entries.len());
            }
        }
    }
}
