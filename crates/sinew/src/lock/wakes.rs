//! Who waits in this process, and how a wake-up finds it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::model::{Token, Wake};
use crate::kernel::clock::{Clock, Monotonic};

/// When a waiter is to ask again, if it was told so.
type Bell = watch::Sender<Option<Monotonic>>;

/// Those of this process who wait for any lock.
pub(crate) struct Wakes {
    /// What this process is called in its tokens. A copy of it is called the same, and hears the same.
    pub(super) process: u64,
    pub(super) clock: Clock,
    /// By the token's own part.
    waiting: Mutex<HashMap<u64, Arc<Bell>>>,
}

impl Wakes {
    pub(super) fn new(process: u64, clock: Clock) -> Arc<Self> {
        Arc::new(Self { process, clock, waiting: Mutex::default() })
    }

    pub(super) fn enlist(self: &Arc<Self>, token: Token) -> Waiting {
        let told = Arc::new(Bell::new(None));
        self.waiting.lock().insert(token.own, Arc::clone(&told));
        Waiting { wakes: Arc::clone(self), token, hears: told.subscribe(), told }
    }

    /// Tells a waiter when to ask again, unless it was told of an earlier time, or is gone.
    pub(super) fn wake(&self, wake: Wake) {
        let told = self.waiting.lock().get(&wake.token.own).cloned();
        if let Some(told) = told {
            tell(&told, self.clock.now().after(wake.after));
        }
    }

    /// Some may have been woken without hearing of it.
    pub(super) fn wake_all(&self) {
        let all: Vec<_> = self.waiting.lock().values().cloned().collect();
        for told in all {
            tell(&told, self.clock.now());
        }
    }
}

fn tell(told: &Bell, at: Monotonic) {
    told.send_modify(|due| *due = Some(due.map_or(at, |due| due.min(at))));
}

/// One who waits, until dropped.
pub(super) struct Waiting {
    wakes: Arc<Wakes>,
    token: Token,
    told: Arc<Bell>,
    hears: watch::Receiver<Option<Monotonic>>,
}

impl Waiting {
    /// Forgets what it was told. To be called before it asks: what comes after that counts.
    pub(super) fn asks(&self) {
        self.told.send_replace(None);
    }

    /// Comes back when it is time to ask again, at the latest then. Cancel-safe.
    pub(super) async fn until(&mut self, at_most: Monotonic) {
        let clock = &self.wakes.clock;
        loop {
            let due = self.hears.borrow_and_update().map_or(at_most, |due| due.min(at_most));
            // A timer is some milliseconds late, even for what is due.
            if clock.now() >= due {
                return;
            }
            tokio::select! {
                biased;
                Ok(()) = self.hears.changed() => {}
                () = clock.sleep_until(due) => return,
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.wakes.waiting.lock().remove(&self.token.own);
    }
}
