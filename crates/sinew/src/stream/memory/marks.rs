//! Names that are kept for a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What a mark weighs beside its name, roughly.
const MARK_BYTES: usize = 160;

/// Names with something each, until their time is over. Never evicted: who adds looks at the weight first.
pub(super) struct Marks<T> {
    by_name: HashMap<Arc<str>, (u64, T)>,
    by_end: BTreeSet<(u64, Arc<str>)>,
    bytes: usize,
}

impl<T> Default for Marks<T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), by_end: BTreeSet::new(), bytes: 0 }
    }
}

impl<T> Marks<T> {
    pub(super) fn get(&self, name: &str, now_ms: u64) -> Option<&T> {
        let (ends_ms, value) = self.by_name.get(name)?;
        (*ends_ms > now_ms).then_some(value)
    }

    pub(super) fn set(&mut self, name: &str, value: T, ends_ms: u64) {
        self.remove(name);
        let name: Arc<str> = name.into();
        self.bytes += name.len() + MARK_BYTES;
        self.by_end.insert((ends_ms, Arc::clone(&name)));
        self.by_name.insert(name, (ends_ms, value));
    }

    /// Drops what is over.
    pub(super) fn sweep(&mut self, now_ms: u64) {
        while let Some((ends_ms, name)) = self.by_end.first()
            && *ends_ms <= now_ms
        {
            let name = Arc::clone(name);
            self.remove(&name);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, name: &str) {
        if let Some((name, (ends_ms, _))) = self.by_name.remove_entry(name) {
            self.bytes -= name.len() + MARK_BYTES;
            self.by_end.remove(&(ends_ms, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_there_until_its_time_is_over_and_weighs_nothing_after() {
        let mut marks = Marks::default();
        marks.set("a", 1, 10);
        marks.set("b", 2, 20);
        marks.set("a", 3, 15);
        assert_eq!((marks.get("a", 14), marks.get("a", 15)), (Some(&3), None));
        marks.sweep(15);
        assert_eq!((marks.by_name.len(), marks.by_end.len()), (1, 1));
        marks.sweep(20);
        assert_eq!((marks.get("b", 0), marks.bytes()), (None, 0));
    }
}
