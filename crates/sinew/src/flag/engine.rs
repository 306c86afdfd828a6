//! What the flags of one client share.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::backend::{Store, Stored};
use super::known::{Book, Shared};
use super::scans::Scans;
use crate::kernel::clock::Clock;
use crate::kernel::key::FlagKeys;

/// What all flags of one client share.
pub(crate) struct Engine {
    pub(super) backend: Store,
    pub(super) clock: Clock,
    pub(super) scans: Scans,
    /// Those that are open.
    open: Mutex<Vec<Weak<Shared>>>,
}

impl Engine {
    pub(crate) fn new(backend: Store, clock: Clock) -> Arc<Self> {
        let (scans, open) = (Scans::new(), Mutex::default());
        Arc::new(Self { backend, clock, scans, open })
    }

    pub(super) fn opened(&self, flags: &Arc<Shared>) {
        let mut open = self.open.lock();
        open.retain(|flags| flags.strong_count() > 0);
        open.push(Arc::downgrade(flags));
    }

    /// Whoever has these flags open knows at once what this process has written.
    pub(super) fn learn(&self, keys: &FlagKeys, book: &Arc<Book>) {
        for flags in self.open_with(keys) {
            flags.learn(book);
        }
    }

    /// The newest document that this process knows, for whoever finds none in the store.
    pub(super) fn last_known(&self, keys: &FlagKeys) -> Option<Stored> {
        let open = self.open_with(keys);
        let known = open.iter().filter_map(|flags| flags.last_known());
        known.max_by_key(|stored| stored.version)
    }

    fn open_with(&self, keys: &FlagKeys) -> Vec<Arc<Shared>> {
        let mut open: Vec<_> = self.open.lock().iter().filter_map(Weak::upgrade).collect();
        open.retain(|flags| flags.keys == *keys);
        open
    }
}
