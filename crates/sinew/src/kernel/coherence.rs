//! Whether what was read from the store may be served again without asking.
//!
//! The store tells of changes to what was read over a connection. Between the change and the telling
//! anything may happen, in any order, so nothing is looked up and removed. Instead, whoever is about to
//! read notes two numbers, *before the question is sent*: the generation of the key, which each telling
//! and each write of this process moves on, and the epoch of the connection, which moves on whenever
//! something may have gone untold. What was read is good while both are as noted.
//!
//! Generations stand in an array by the hash of their key: two keys that share one only end each
//! other's entries too early.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::sync::{Arc, AtomicU32, AtomicU64, Ordering};

/// A mebibyte: with a million entries, four share one.
pub(crate) const GENERATIONS: usize = 1 << 18;
const WAKES: usize = 64;

/// The generations of all keys of one deployment, in one process.
pub(crate) struct Coherence {
    generations: Box<[AtomicU32]>,
    wakes: Box<[Notify]>,
}

impl Coherence {
    pub(crate) fn new(generations: usize) -> Self {
        Self {
            generations: (0..generations.max(1)).map(|_| AtomicU32::new(0)).collect(),
            wakes: (0..WAKES).map(|_| Notify::new()).collect(),
        }
    }

    /// A key was changed, is about to be, or may have been: what was read of it before is old.
    /// Neither waits nor panics, so that a connection's driver may call it.
    pub(crate) fn touch(&self, key: &[u8]) {
        let index = self.index(key);
        self.generations[index as usize].fetch_add(1, Ordering::SeqCst);
        self.wakes[index as usize % WAKES].notify_waiters();
    }

    /// To be taken before a question about the key is sent over the lane's connection. `None` while
    /// nothing may be kept of the answer.
    pub(crate) fn note(&self, key: &[u8], lane: &Arc<Lane>) -> Option<Note> {
        // Of an epoch in which changes go untold, nothing is kept.
        Some(self.note_anyway(key, lane)).filter(|note| note.epoch.is_multiple_of(2))
    }

    /// The same for what is not kept, and only has to know whether anything was heard since: also
    /// that changes are told again, or no more.
    pub(crate) fn note_anyway(&self, key: &[u8], lane: &Arc<Lane>) -> Note {
        let epoch = lane.epoch.load(Ordering::SeqCst);
        let index = self.index(key);
        let generation = self.generations[index as usize].load(Ordering::SeqCst);
        Note { lane: Arc::clone(lane), epoch, index, generation }
    }

    /// Ends when the note may have ceased to hold. Registered before it is first polled.
    pub(crate) fn changed(&self, note: &Note) -> Notified<'_> {
        self.wakes[note.index as usize % WAKES].notified()
    }

    /// Whether what was read on these terms is still as it was.
    #[inline]
    pub(crate) fn holds(&self, note: &Note) -> bool {
        note.lane.epoch.load(Ordering::SeqCst) == note.epoch
            && self.generations[note.index as usize].load(Ordering::SeqCst) == note.generation
    }

    fn index(&self, key: &[u8]) -> u32 {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish() % self.generations.len() as u64;
        // There are fewer than four thousand million.
        u32::try_from(hash).unwrap_or_default()
    }
}

/// Terms on which something was read.
#[derive(Clone)]
pub(crate) struct Note {
    lane: Arc<Lane>,
    epoch: u64,
    index: u32,
    generation: u32,
}

/// What comes over one connection to one server, and over those that follow it.
pub(crate) struct Lane {
    /// Odd while changes may go untold. It never comes back to a value it had.
    epoch: AtomicU64,
}

impl Lane {
    /// Nothing is told yet.
    pub(crate) fn new() -> Self {
        Self { epoch: AtomicU64::new(1) }
    }

    /// One that no connection stands behind: only this process's own writes end what was read.
    pub(crate) fn unconnected() -> Self {
        Self { epoch: AtomicU64::new(0) }
    }

    /// From here on, every change of what is read is told.
    pub(crate) fn confirmed(&self) {
        self.step(|epoch| if epoch % 2 == 1 { epoch + 1 } else { epoch + 2 });
    }

    /// Changes may go untold, until the next [`Lane::confirmed`].
    pub(crate) fn lost(&self) {
        self.step(|epoch| if epoch % 2 == 1 { epoch + 2 } else { epoch + 1 });
    }

    /// All that was read before is old; what is read from here on is not.
    pub(crate) fn moved_on(&self) {
        self.step(|epoch| epoch + 2);
    }

    fn step(&self, next: impl Fn(u64) -> u64) {
        // Never refused: the function always has a next epoch.
        let _ =
            self.epoch.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |epoch| Some(next(epoch)));
    }
}
