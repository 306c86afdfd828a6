//! What the flags of one client share.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::backend::Store;
use super::known::{Book, Shared};
use crate::kernel::clock::Clock;
use crate::kernel::key::FlagKeys;

/// So many may look through all keys of the store at a time.
const SCANS_MAX: usize = 2;

/// What all flags of one client share.
pub(crate) struct Engine {
    pub(super) backend: Store,
    pub(super) clock: Clock,
    pub(super) scans: Semaphore,
    /// Those that are open.
    open: Mutex<Vec<Weak<Shared>>>,
}

impl Engine {
    pub(crate) fn new(backend: Store, clock: Clock) -> Arc<Self> {
        let (scans, open) = (Semaphore::new(SCANS_MAX), Mutex::default());
        Arc::new(Self { backend, clock, scans, open })
    }

    pub(super) fn opened(&self, flags: &Arc<Shared>) {
        let mut open = self.open.lock();
        open.retain(|flags| flags.strong_count() > 0);
        open.push(Arc::downgrade(flags));
    }

    /// Whoever has these flags open knows at once what this process has written.
    pub(super) fn learn(&self, keys: &FlagKeys, book: &Arc<Book>) {
        let open: Vec<_> = self.open.lock().iter().filter_map(Weak::upgrade).collect();
        for flags in open.iter().filter(|flags| flags.keys == *keys) {
            flags.learn(book);
        }
    }
}
