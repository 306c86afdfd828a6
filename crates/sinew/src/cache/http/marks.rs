//! What this process remembers of some keys: a bit each, in a table that does not grow.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MARKS: usize = 4_096;

/// Marks by the hash of what is marked. Two that share a place take it from each other, so a mark
/// may be missing: whoever asks has to be right without it.
pub(super) struct Marks(Box<[AtomicU64]>);

impl Default for Marks {
    fn default() -> Self {
        Self((0..MARKS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Marks {
    pub(super) fn has(&self, what: &impl Hash) -> bool {
        let hash = hash_of(what);
        self.place(hash).load(Ordering::Relaxed) == hash
    }

    pub(super) fn set(&self, what: &impl Hash) {
        let hash = hash_of(what);
        self.place(hash).store(hash, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, what: &impl Hash) {
        self.free(hash_of(what));
    }

    /// Sets a mark until the claim is dropped. `None` while its place is taken, by whatever.
    pub(super) fn claim(self: &Arc<Self>, what: &impl Hash) -> Option<Claim> {
        let hash = hash_of(what);
        let claimed =
            self.place(hash).compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed);
        claimed.ok().map(|_| Claim { marks: Arc::clone(self), hash })
    }

    fn free(&self, hash: u64) {
        // Not another's.
        let _ = self.place(hash).compare_exchange(hash, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        let index = usize::try_from(hash % self.0.len() as u64).unwrap_or_default();
        &self.0[index]
    }
}

/// A mark that goes with it.
pub(super) struct Claim {
    marks: Arc<Marks>,
    hash: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.marks.free(self.hash);
    }
}

/// Never zero, which stands for nothing.
fn hash_of(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stays_until_it_is_removed() {
        let marks = Marks::default();
        assert!(!marks.has(&"a"));
        marks.set(&"a");
        assert!(marks.has(&"a") && !marks.has(&"b"));
        marks.remove(&"b");
        assert!(marks.has(&"a"));
        marks.remove(&"a");
        assert!(!marks.has(&"a"));
    }

    #[test]
    fn one_at_a_time_has_a_claim() {
        let marks = Arc::new(Marks::default());
        let claim = marks.claim(&"a").expect("free");
        assert!(marks.claim(&"a").is_none());
        drop(claim);
        assert!(marks.claim(&"a").is_some());
    }
}
