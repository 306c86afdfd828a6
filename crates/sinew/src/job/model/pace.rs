//! When a lane's next turn goes: most of what a small one costs the store is the call.

use std::time::Duration;

use super::FLUSH_AFTER;
use crate::kernel::clock::Monotonic;

/// What a lane knows when it asks itself whether to send.
#[derive(Clone, Copy, Debug)]
pub(in crate::job) struct Pace {
    /// How many runs it may have at a time.
    pub(in crate::job) slots: usize,
    /// How many are under way.
    pub(in crate::job) running: usize,
    /// How many ends the store has not been told of.
    pub(in crate::job) unsent: usize,
    /// Since when the first of these waits.
    pub(in crate::job) unsent_since: Option<Monotonic>,
    /// There is work, as far as is known: a token came, something is due, or the last turn left some.
    pub(in crate::job) has_work: bool,
    /// Runs take much less than ends wait for each other: more of them are about to come.
    pub(in crate::job) is_quick: bool,
}

impl Pace {
    /// How long to wait for more before the next turn; nothing where there is no reason for one.
    pub(in crate::job) fn wait(&self, now: Monotonic) -> Option<Duration> {
        let free = self.slots.saturating_sub(self.running);
        let is_wanted = self.has_work && free > 0;
        if self.unsent == 0 {
            return is_wanted.then_some(Duration::ZERO);
        }
        let is_enough = self.running == 0 || self.unsent >= self.enough();
        let since = self.unsent_since.unwrap_or(now);
        Some(if is_enough { Duration::ZERO } else { since.after(FLUSH_AFTER).since(now) })
    }

    /// How many ends are not to wait for more.
    fn enough(&self) -> usize {
        let quarters = if self.is_quick { 3 } else { 1 };
        (quarters * self.slots).div_ceil(4)
    }

    /// How many more ends make a difference: the first has to be told in time.
    pub(in crate::job) fn ends_to_wait_for(&self) -> usize {
        match self.unsent {
            0 => 1,
            unsent => self.enough().saturating_sub(unsent).min(self.running).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Monotonic = Monotonic::ZERO;

    fn pace(running: usize, unsent: usize, has_work: bool) -> Option<Duration> {
        let unsent_since = (unsent > 0).then_some(NOW);
        Pace { slots: 16, running, unsent, unsent_since, has_work, is_quick: false }.wait(NOW)
    }

    #[test]
    fn work_is_fetched_at_once_and_ends_wait_a_little_for_each_other() {
        assert_eq!(pace(0, 0, false), None);
        assert_eq!(pace(15, 0, true), Some(Duration::ZERO));
        assert_eq!(pace(16, 0, true), None, "no slot is free");
        assert_eq!(pace(0, 1, false), Some(Duration::ZERO), "no other end can come");
        assert_eq!(pace(12, 4, false), Some(Duration::ZERO));
        assert_eq!(pace(13, 3, true), Some(FLUSH_AFTER));
        let one = Pace {
            slots: 16,
            running: 13,
            unsent: 1,
            unsent_since: Some(NOW),
            has_work: false,
            is_quick: false,
        };
        assert_eq!(one.wait(NOW.after(2 * FLUSH_AFTER)), Some(Duration::ZERO), "it is late");
        assert_eq!(one.ends_to_wait_for(), 3);
        let quick = |running, unsent| Pace { running, unsent, is_quick: true, ..one };
        assert_eq!(quick(5, 11).wait(NOW), Some(FLUSH_AFTER), "more are about to come");
        assert_eq!(quick(4, 12).wait(NOW), Some(Duration::ZERO));
        assert_eq!((quick(5, 0).ends_to_wait_for(), quick(2, 5).ends_to_wait_for()), (1, 2));
    }
}
