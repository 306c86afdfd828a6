//! Ends of runs, on their way to the lane.

use std::mem;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::runs::Ended;

/// Ends that the lane has not taken in.
pub(super) struct Ends {
    // A mutex: a push or a swap, and no one waits under it.
    inner: Mutex<Inner>,
    enough: Notify,
}

struct Inner {
    ended: Vec<Ended>,
    /// How many the lane waits for, if it waits: to be woken by each costs more than what it then does.
    wanted: Option<usize>,
}

impl Ends {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::new(Inner { ended: Vec::new(), wanted: None }), enough: Notify::new() }
    }

    pub(super) fn push(&self, ended: Ended) {
        let mut inner = self.inner.lock();
        inner.ended.push(ended);
        let count = inner.ended.len();
        let is_enough = inner.wanted.take_if(|wanted| *wanted <= count).is_some();
        drop(inner);
        if is_enough {
            self.enough.notify_one();
        }
    }

    /// Swaps what there is for `empty`.
    pub(super) fn swap(&self, empty: &mut Vec<Ended>) {
        mem::swap(&mut self.inner.lock().ended, empty);
    }

    /// Waits until there are as many, which is one at least. Cancel-safe.
    pub(super) async fn until(&self, wanted: usize) {
        loop {
            {
                let mut inner = self.inner.lock();
                let is_enough = inner.ended.len() >= wanted;
                inner.wanted = (!is_enough).then_some(wanted);
                if is_enough {
                    return;
                }
            }
            self.enough.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::super::tally::Outcome;
    use super::*;
    use crate::job::model::{End, JobId, Settle};
    use crate::kernel::clock::UnixMillis;

    fn ended() -> Ended {
        let id = JobId::new(UnixMillis(1), 0).unwrap();
        Ended {
            generation: 0,
            settle: Settle { id, fence: 1, end: End::Back },
            outcome: Outcome::Back,
            kind: None,
            took: Duration::ZERO,
            place: None,
            suspect: None,
        }
    }

    #[tokio::test]
    async fn a_lane_is_woken_once_there_are_as_many_as_it_waits_for() {
        let ends = Ends::new();
        let mut waiting = Box::pin(ends.until(2));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        ends.push(ended());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        ends.push(ended());
        waiting.await;
        let mut taken = Vec::new();
        ends.swap(&mut taken);
        assert_eq!(taken.len(), 2);
        // What woke it before is no end.
        ends.push(ended());
        assert_eq!(ends.until(2).now_or_never(), None);
        ends.until(1).await;
    }
}
