//! Who may take how many jobs, where a worker runs fewer at a time than its lanes have slots: by the weights of their queues.
//!
//! Stride scheduling (Waldspurger and Weihl 1995): each grant moves a lane on by a stride, the shorter the heavier its queue
//! is, and the lane that is furthest behind goes first.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a lane of weight 1 moves on by with a grant.
const STRIDE: u64 = 1 << 20;
/// So many grants of that a lane may be behind: who had nothing to do has no claim to what it did not take.
const BEHIND_MAX: u64 = 64;

/// The slots of a worker.
pub(super) struct Shares {
    // A mutex: a few additions, and no one waits under it.
    inner: Mutex<Inner>,
    /// One of each lane, for when it is its turn.
    turns: Vec<Notify>,
}

struct Inner {
    /// Of the whole worker.
    free: usize,
    /// Of each queue.
    queues: Vec<usize>,
    lanes: Vec<Asker>,
    /// How far the lane was that was granted something last.
    reached: u64,
}

struct Asker {
    queue: usize,
    stride: u64,
    pass: u64,
    /// It waits for its turn.
    is_hungry: bool,
}

/// A lane, as a share is worked out for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) queue: usize,
    pub(super) weight: u32,
    /// How many lanes its queue has: they share its weight.
    pub(super) lanes: usize,
}

/// Slots that a lane may fill. They are free again once this is dropped.
pub(super) struct Granted {
    /// Nothing where there are enough for all.
    shares: Option<Arc<Shares>>,
    queue: usize,
    pub(super) count: usize,
}

impl Shares {
    /// Of so many slots, and so many of each queue.
    pub(super) fn new(total: usize, queues: Vec<usize>, claims: &[Claim]) -> Arc<Self> {
        let lanes = claims.iter().map(|claim| Asker {
            queue: claim.queue,
            stride: STRIDE * u64::try_from(claim.lanes.max(1)).unwrap_or(1)
                / u64::from(claim.weight.max(1)),
            pass: 0,
            is_hungry: false,
        });
        let inner = Inner { free: total, queues, lanes: lanes.collect(), reached: 0 };
        let turns = claims.iter().map(|_| Notify::new()).collect();
        Arc::new(Self { inner: Mutex::new(inner), turns })
    }

    /// As many as may be of those that a lane wants. One that is granted none is told when it is to ask again, by
    /// [`Shares::turn`], until it is [`Shares::content`].
    pub(super) fn take(self: &Arc<Self>, lane: usize, want: usize) -> Granted {
        let mut inner = self.inner.lock();
        let count = inner.take(lane, want);
        let next = inner.next();
        let queue = inner.lanes[lane].queue;
        drop(inner);
        self.wake(next);
        Granted { shares: Some(Arc::clone(self)), queue, count }
    }

    /// Resolves when a lane that was granted nothing is to ask again. Cancel-safe.
    pub(super) async fn turn(&self, lane: usize) {
        self.turns[lane].notified().await;
    }

    /// A lane does not wait any more.
    pub(super) fn content(&self, lane: usize) {
        let mut inner = self.inner.lock();
        inner.lanes[lane].is_hungry = false;
        let next = inner.next();
        drop(inner);
        self.wake(next);
    }

    fn give_back(&self, queue: usize, count: usize) {
        let mut inner = self.inner.lock();
        inner.free += count;
        inner.queues[queue] += count;
        let next = inner.next();
        drop(inner);
        self.wake(next);
    }

    fn wake(&self, lane: Option<usize>) {
        if let Some(lane) = lane {
            self.turns[lane].notify_one();
        }
    }
}

impl Inner {
    fn take(&mut self, lane: usize, want: usize) -> usize {
        let others = self.lanes.iter().enumerate();
        let others = others.filter(|(at, other)| *at != lane && self.is_waiting(other));
        let before = others.map(|(_, other)| other.pass).min().unwrap_or(u64::MAX);
        let room = self.room(self.lanes[lane].queue);
        let behind = self.reached.saturating_sub(BEHIND_MAX * STRIDE);
        let asker = &mut self.lanes[lane];
        asker.pass = asker.pass.max(behind);
        let mut count = 0;
        while count < want.min(room) && asker.pass <= before {
            self.reached = asker.pass;
            asker.pass += asker.stride;
            count += 1;
        }
        asker.is_hungry = count == 0 && want > 0;
        let queue = asker.queue;
        self.free -= count;
        self.queues[queue] -= count;
        count
    }

    fn room(&self, queue: usize) -> usize {
        self.free.min(self.queues[queue])
    }

    fn is_waiting(&self, asker: &Asker) -> bool {
        asker.is_hungry && self.room(asker.queue) > 0
    }

    /// Whose turn it is.
    fn next(&self) -> Option<usize> {
        let waiting = self.lanes.iter().enumerate().filter(|(_, asker)| self.is_waiting(asker));
        waiting.min_by_key(|(_, asker)| asker.pass).map(|(lane, _)| lane)
    }
}

impl Granted {
    /// Where there are enough for all.
    pub(super) fn free(count: usize) -> Self {
        Self { shares: None, queue: 0, count }
    }

    /// One of them, for a run.
    pub(super) fn one(&mut self) -> Option<Self> {
        self.count = self.count.checked_sub(1)?;
        Some(Self { shares: self.shares.clone(), queue: self.queue, count: 1 })
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if self.count > 0
            && let Some(shares) = &self.shares
        {
            shares.give_back(self.queue, self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(weights: [u32; 2]) -> Vec<Claim> {
        let claim = |(queue, weight)| Claim { queue, weight, lanes: 1 };
        weights.into_iter().enumerate().map(claim).collect()
    }

    /// All that are taken one by one by lanes that always want more, as each has its turn.
    fn taken(shares: &Arc<Shares>, rounds: usize) -> [usize; 2] {
        let (mut taken, mut held) = ([0; 2], Vec::new());
        for _ in 0..rounds {
            for lane in [0, 1] {
                let granted = shares.take(lane, 1);
                taken[lane] += granted.count;
                if granted.count > 0 {
                    held.push(granted);
                }
            }
            held.truncate(held.len().saturating_sub(1));
        }
        taken
    }

    #[test]
    fn a_heavier_queue_has_more_of_what_is_scarce() {
        let shares = Shares::new(1, vec![1, 1], &claims([3, 1]));
        let taken = taken(&shares, 4_000);
        assert!((2..=4).contains(&(taken[0] / taken[1].max(1))), "{taken:?}");
    }

    #[test]
    fn no_queue_has_more_than_its_own_and_all_comes_back() {
        let shares = Shares::new(10, vec![4, 8], &claims([1, 1]));
        let (mut first, second) = (shares.take(0, 9), shares.take(1, 9));
        assert_eq!((first.count, second.count), (4, 6));
        let one = first.one();
        drop((first, second));
        assert_eq!(shares.take(0, 9).count, 3, "one of them runs");
        drop(one);
        assert_eq!(shares.take(0, 9).count, 4);
    }

    #[tokio::test]
    async fn who_was_granted_none_is_told_of_what_becomes_free() {
        let shares = Shares::new(1, vec![1, 1], &claims([1, 1]));
        let held = shares.take(0, 1);
        assert_eq!(shares.take(1, 1).count, 0);
        drop(held);
        shares.turn(1).await;
        assert_eq!(shares.take(0, 1).count, 0, "it is the other's turn");
        assert_eq!(shares.take(1, 1).count, 1);
    }
}
