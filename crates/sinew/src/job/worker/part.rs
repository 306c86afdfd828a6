//! One partition of a queue, as the lanes of a worker share it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::tally::QueueCounts;
use crate::kernel::clock::{Clock, Monotonic};
use crate::kernel::key::QueueKeys;

/// A partition of a queue.
pub(super) struct Part {
    pub(super) keys: QueueKeys,
    /// Which of the worker's queues that is of.
    pub(super) queue: usize,
    pub(super) counts: QueueCounts,
    clock: Clock,
    /// How many lanes have nothing to do, and wait for a token.
    idle: watch::Sender<usize>,
    /// There may be a job for one of them.
    pub(super) token: Notify,
    /// There may be a job, and none of them can take it: others are to hear of it.
    pub(super) pass_on: Notify,
    /// Something is to be enqueued elsewhere.
    pub(super) owing: Notify,
    // A mutex: noted by lanes and keepers, and no one waits under it.
    due: Mutex<Due>,
    due_changed: Notify,
    /// What is to be added to this machine's clock for the store's, in milliseconds.
    offset_ms: AtomicI64,
}

#[derive(Default)]
struct Due {
    /// When the next job is due, by the store's clock, and by this machine's.
    next_ms: Option<u64>,
    at: Option<Monotonic>,
    /// The store's time when it said so: replies may overtake each other.
    said_ms: u64,
}

impl Due {
    fn be(&mut self, next_ms: Option<u64>, now_ms: u64, now: Monotonic) {
        let delay = |due_ms: u64| Duration::from_millis(due_ms.saturating_sub(now_ms));
        self.at = next_ms.map(|due_ms| now.after(delay(due_ms)));
        self.next_ms = next_ms;
    }
}

/// A lane that waits for a token.
pub(super) struct Idle<'a>(&'a Part);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.idle.send_modify(|idle| *idle -= 1);
    }
}

impl Part {
    pub(super) fn new(keys: QueueKeys, queue: usize, counts: QueueCounts, clock: Clock) -> Self {
        // Until the store is heard, its clock is this machine's.
        let offset_ms = signed(clock.wall().0) - whole_ms(clock.now());
        Self {
            keys,
            queue,
            counts,
            clock,
            idle: watch::Sender::new(0),
            token: Notify::new(),
            pass_on: Notify::new(),
            owing: Notify::new(),
            due: Mutex::default(),
            due_changed: Notify::new(),
            offset_ms: AtomicI64::new(offset_ms),
        }
    }

    pub(super) fn idle(&self) -> Idle<'_> {
        self.idle.send_modify(|idle| *idle += 1);
        Idle(self)
    }

    /// Waits until a lane has nothing to do. Cancel-safe.
    pub(super) async fn until_idle(&self) {
        let mut idle = self.idle.subscribe();
        // The sender lives in `self`.
        let _ = idle.wait_for(|idle| *idle > 0).await;
    }

    /// A token has come: a lane looks for the job, or has others do so.
    pub(super) fn has_token(&self) {
        let is_any_idle = *self.idle.borrow() > 0;
        match is_any_idle {
            true => self.token.notify_one(),
            false => self.pass_on.notify_one(),
        }
    }

    /// Has a lane look, if one has nothing to do.
    pub(super) fn look(&self) {
        if *self.idle.borrow() > 0 {
            self.token.notify_one();
        }
    }

    /// Notes what the store's time was a moment ago.
    pub(super) fn sync(&self, now_ms: u64) {
        let offset_ms = signed(now_ms) - whole_ms(self.clock.now());
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// The same, and when its next job is due.
    pub(super) fn heard(&self, now_ms: u64, next_due_ms: Option<u64>) {
        self.sync(now_ms);
        let now = self.clock.now();
        let mut due = self.due.lock();
        if now_ms < due.said_ms {
            return;
        }
        due.said_ms = now_ms;
        if due.next_ms != next_due_ms {
            due.be(next_due_ms, now_ms, now);
            drop(due);
            self.due_changed.notify_one();
        }
    }

    /// The same of a renewal, which knows when the next delayed job is due, and not when a rate has room again.
    pub(super) fn heard_of_delayed(&self, now_ms: u64, next_due_ms: Option<u64>) {
        self.sync(now_ms);
        let now = self.clock.now();
        let mut due = self.due.lock();
        let is_earlier =
            next_due_ms.is_some_and(|next| due.next_ms.is_none_or(|known| next < known));
        if is_earlier {
            due.be(next_due_ms, now_ms, now);
            drop(due);
            self.due_changed.notify_one();
        }
    }

    /// The store's time, as far as it is known.
    pub(super) fn now_ms(&self) -> u64 {
        let now = whole_ms(self.clock.now());
        u64::try_from(now + self.offset_ms.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Has a lane look whenever a job is due, until it is aborted.
    pub(super) async fn time(&self) {
        loop {
            let at = self.due.lock().at;
            let until_due = async {
                match at {
                    Some(at) => self.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = until_due => {
                    let mut due = self.due.lock();
                    if due.at == at {
                        // What the lane finds says when the next one is.
                        (due.next_ms, due.at) = (None, None);
                    }
                    drop(due);
                    // Kept for the next lane that has nothing to do, where none is idle.
                    self.token.notify_one();
                }
                () = self.due_changed.notified() => {}
            }
        }
    }
}

fn whole_ms(at: Monotonic) -> i64 {
    i64::try_from(at.as_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
