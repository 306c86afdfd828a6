//! What is kept under a name until its time is over.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// No time of its own: it is there until it is removed.
pub(super) const FOR_EVER: u64 = u64::MAX;

/// Names with something each, until their time is over.
pub(super) struct Marks<K, T> {
    by_name: HashMap<K, (u64, T)>,
    by_end: BTreeSet<(u64, K)>,
}

impl<K, T> Default for Marks<K, T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), by_end: BTreeSet::new() }
    }
}

impl<K: Clone + Ord + Hash, T> Marks<K, T> {
    pub(super) fn get(&self, name: &K, now_ms: u64) -> Option<&T> {
        let (ends_ms, value) = self.by_name.get(name)?;
        (*ends_ms > now_ms).then_some(value)
    }

    pub(super) fn set(&mut self, name: &K, value: T, ends_ms: u64) {
        self.remove(name);
        self.by_end.insert((ends_ms, name.clone()));
        self.by_name.insert(name.clone(), (ends_ms, value));
    }

    /// Takes what is there, whether or not its time is over.
    pub(super) fn remove(&mut self, name: &K) -> Option<T> {
        let (name, (ends_ms, value)) = self.by_name.remove_entry(name)?;
        self.by_end.remove(&(ends_ms, name));
        Some(value)
    }

    /// Drops what is over.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        while let Some((ends_ms, name)) = self.by_end.first()
            && *ends_ms <= now_ms
        {
            let name = name.clone();
            self.remove(&name);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_there_until_its_time_is_over() {
        let mut marks = Marks::default();
        marks.set(&"a", 1, 10);
        marks.set(&"b", 2, FOR_EVER);
        marks.set(&"a", 3, 15);
        assert_eq!((marks.get(&"a", 14), marks.get(&"a", 15)), (Some(&3), None));
        marks.sweep(15);
        assert_eq!((marks.len(), marks.by_end.len()), (1, 1));
        assert_eq!(marks.get(&"b", 1 << 50), Some(&2));
        assert_eq!(marks.remove(&"b"), Some(2));
    }
}
