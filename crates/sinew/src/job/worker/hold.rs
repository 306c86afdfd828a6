//! What a lane holds, as its keeper and its runs see it: under which name, until when, and which jobs.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::super::context::{Signal, Stop};
use super::super::model::JobId;
use crate::kernel::clock::{Clock, Monotonic};

/// What a lane holds.
pub(super) struct Hold {
    clock: Clock,
    // A mutex: changed by the lane and its keeper, and neither waits under it.
    inner: Mutex<Inner>,
    /// For the lane: its name has fallen, or its lease goes on after it was over.
    pub(super) news: Notify,
    /// For the keeper, who renews: the lane has another name.
    pub(super) leased: Notify,
    /// For the keeper, who watches: there is a lease after there was none.
    pub(super) relet: Notify,
}

#[derive(Default)]
struct Inner {
    /// Nothing while it has joined under none.
    name: Option<Arc<str>>,
    /// When the lease is over, by this machine's clock.
    until: Option<Monotonic>,
    /// Those that are under way, each in its place.
    runs: Vec<Option<Running>>,
    free: Vec<usize>,
}

/// A run that is under way.
struct Running {
    id: JobId,
    signal: Arc<Signal>,
    task: AbortHandle,
}

impl Hold {
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            inner: Mutex::default(),
            news: Notify::new(),
            leased: Notify::new(),
            relet: Notify::new(),
        })
    }

    pub(super) fn name(&self) -> Option<Arc<str>> {
        self.inner.lock().name.clone()
    }

    /// When the lease is over; nothing where there is none.
    pub(super) fn until(&self) -> Option<Monotonic> {
        self.inner.lock().until
    }

    pub(super) fn is_leased(&self) -> bool {
        self.until().is_some_and(|until| self.clock.now() < until)
    }

    pub(super) fn joined(&self, name: Arc<str>, until: Monotonic) {
        let mut inner = self.inner.lock();
        inner.name = Some(name);
        inner.until = Some(until);
        drop(inner);
        self.leased.notify_one();
        self.relet.notify_one();
    }

    /// The store has renewed the lease of this name.
    pub(super) fn renewed(&self, name: &Arc<str>, until: Monotonic) {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        if inner.name.as_ref() != Some(name) {
            return;
        }
        let was_over = inner.until.replace(until).is_none_or(|was| was <= now);
        drop(inner);
        if was_over {
            self.news.notify_one();
            self.relet.notify_one();
        }
    }

    /// The store has taken the lane for dead: what it had under this name is not its own.
    pub(super) fn fell(&self, name: &Arc<str>) {
        let mut inner = self.inner.lock();
        if inner.name.as_ref() != Some(name) {
            return;
        }
        inner.name = None;
        inner.until = None;
        drop(inner);
        self.tell_all(Stop::Lost);
        self.news.notify_one();
    }

    /// Has a run begin, by a function that is told its place, and spawns it.
    pub(super) fn begin(
        &self,
        id: JobId,
        signal: Arc<Signal>,
        spawn: impl FnOnce(usize) -> AbortHandle,
    ) {
        let mut inner = self.inner.lock();
        let place = inner.free.pop().unwrap_or(inner.runs.len());
        let running = Running { id, signal, task: spawn(place) };
        match inner.runs.get_mut(place) {
            Some(free) => *free = Some(running),
            None => inner.runs.push(Some(running)),
        }
    }

    /// The run of this place has ended.
    pub(super) fn end(&self, place: usize) {
        let mut inner = self.inner.lock();
        if inner.runs.get_mut(place).and_then(mem::take).is_some() {
            inner.free.push(place);
        }
    }

    /// Ends all runs where they stand, at their next `await`.
    pub(super) fn abort_all(&self) {
        for running in self.inner.lock().runs.iter().flatten() {
            running.task.abort();
        }
    }

    /// Tells the handlers of these to stop.
    pub(super) fn tell(&self, ids: &[JobId], stop: Stop) {
        if ids.is_empty() {
            return;
        }
        for running in self.inner.lock().runs.iter().flatten() {
            if ids.contains(&running.id) {
                running.signal.tell(stop);
            }
        }
    }

    /// Tells all handlers to stop. For how many it is news.
    pub(super) fn tell_all(&self, stop: Stop) -> usize {
        let inner = self.inner.lock();
        inner.runs.iter().flatten().filter(|running| running.signal.tell(stop)).count()
    }
}
